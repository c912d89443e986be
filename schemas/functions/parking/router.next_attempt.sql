-- router.next_attempt: when an event is tried again that could not be routed: after 10 s, doubled at each attempt up to an
-- hour, plus up to a quarter of jitter.
-- returns: the time; infinity after ten attempts: the event is dead and waits for an operator
create or replace function router.next_attempt(p_attempts integer)
returns timestamptz
language sql
volatile
set search_path = pg_catalog, pg_temp
as $function$
    select case when p_attempts >= 10 then 'infinity'
                else clock_timestamp() + least(10 * 2 ^ (p_attempts - 1), 3600) * (1 + random() / 4) * interval '1 second'
           end
$function$;
