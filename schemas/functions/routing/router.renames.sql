-- router.renames: whether the event gives its author a name that is later than the known one and another.
create or replace function router.renames(p_event router.event)
returns boolean
language sql
immutable
as $function$
    select not p_event.has_message and p_event.author_name is distinct from p_event.known_name
       and router.name_is_news(p_event)
$function$;
