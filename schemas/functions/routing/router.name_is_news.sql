-- router.name_is_news: whether the event's author name comes after the one that is known. Names are ordered by event time
-- and then by themselves, so that every order of routing ends with the same one.
create or replace function router.name_is_news(p_event router.event)
returns boolean
language sql
immutable
as $function$
    select p_event.author_name is not null and p_event.author_id is not null
       and (p_event.known_name_at is null
            or p_event.known_name_at < p_event.sent_at
            or p_event.known_name_at = p_event.sent_at
               and coalesce(p_event.known_name, '') < p_event.author_name collate "C")
$function$;
