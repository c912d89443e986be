-- router.route_events: router.route, for callers that only count.
-- takes: events whose rows the caller has locked
-- returns: the number of messages made
create or replace function router.route_events(p_events router.event[])
returns integer
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $function$
begin
    return (router.route(p_events)).made;
end
$function$;
