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
    v_done  record;
begin
    perform router.blame_locks();
    if v_count > 0 then
        v_done := router.park_or_hold(p_events, '57014', 'takes too long, even alone', null);
        v_batch.claimed := v_count;
        v_batch.parked := cardinality(v_done.parked);
        v_batch.dead := v_done.dead;
        v_batch.held := cardinality(v_done.held);
        v_batch.held_reason := v_done.reason;
        v_batch.faults := v_done.faults;
        v_batch.reached_at := coalesce((p_events[v_count]).created_at, '-infinity');
        v_batch.reached_id := (p_events[v_count]).id;
    end if;
    return v_batch;
end
$function$;
