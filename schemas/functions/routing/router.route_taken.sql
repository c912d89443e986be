-- router.route_taken: routes the events that deliveries were taken apart into.
create or replace function router.route_taken(p_events router.event[])
returns router.batch
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $function$
begin
    return router.route_claimed(p_events, cardinality(p_events) + 1);
end
$function$;
