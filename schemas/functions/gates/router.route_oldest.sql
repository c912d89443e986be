-- router.route_oldest: routes up to p_limit events, oldest event_date first, and parked ones that are due.
-- takes: p_channel null for every channel; p_limit, clamped to 1...10,000
-- returns: as router.route_batch
create or replace function router.route_oldest(p_channel text, p_limit integer)
returns router.batch
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $function$
declare
    v_limit integer := least(greatest(coalesce(p_limit, 100), 1), 10000);
begin
    return router.route_claimed(router.claim_by_event_date(router.channel_of(p_channel), v_limit), v_limit);
end
$function$;
