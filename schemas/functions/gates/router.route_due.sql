-- router.route_due: tries parked events again whose next attempt is due, by the path 'sweep'.
-- takes: p_channel null for every channel
-- returns: as router.route_batch
create or replace function router.route_due(p_channel text, p_limit integer)
returns router.batch
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $function$
begin
    return router.route_claimed(router.claim_due(p_channel, p_limit, 'sweep'), p_limit);
end
$function$;
