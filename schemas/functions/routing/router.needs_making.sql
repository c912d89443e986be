-- router.needs_making: whether router.make_targets has something to do for an event that router.find_targets looked up.
create or replace function router.needs_making(p_event router.event)
returns boolean
language sql
immutable
as $function$
    select not p_event.has_message
       and (p_event.conversation_id is null
            or p_event.author_id is not null and p_event.contact_id is null
            or router.renames(p_event))
$function$;
