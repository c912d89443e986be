-- router.park_untried: parks events that take longer than a call may, even alone; no handler inside the database catches that.
-- takes: events whose rows the caller has locked, null for none
-- returns: as router.route_claimed
-- raises: see router.blame_locks
create or replace function router.park_untried(p_events router.event[])
returns router.batch
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $function$
declare
    v_count integer := coalesce(cardinality(p_events), 0);
    v_batch router.batch := router.route_claimed(null, 1);
begin
    perform router.blame_locks();
    v_batch.claimed := v_count;
    v_batch.parked := v_count;
    v_batch.dead := (
        select count(*) from unnest(p_events) e where router.park_event(e, '57014', 'takes too long, even alone')
    );
    if v_count > 0 then
        v_batch.reached_at := (p_events[v_count]).created_at;
        v_batch.reached_id := (p_events[v_count]).id;
    end if;
    return v_batch;
end
$function$;
