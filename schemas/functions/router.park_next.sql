-- router.park_next: parks one event without trying it: the one that the next batch with these bounds would start with. The
-- service calls it when that event alone exceeds the time of a call, which no handler inside the database can catch.
-- takes: p_due: a parked event that is due instead; bounds and lane as router.claim_by_arrival; SQLSTATE and message to record
-- returns: as router.route_batch
-- raises: see router.blame_locks
create or replace function router.park_next(
    p_due boolean, p_after_at timestamptz, p_after_id uuid, p_before timestamptz, p_lane integer, p_lanes integer,
    p_error_code text, p_error_message text
) returns router.batch
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $function$
declare
    v_events router.event[] := case when p_due then router.claim_due(null, 1)
                                    else router.claim_by_arrival(1, p_after_at, p_after_id, p_before, p_lane, p_lanes) end;
    v_batch  router.batch := router.route_claimed(null, 1);
begin
    perform router.blame_locks();
    if cardinality(v_events) = 1 then
        v_batch.claimed := 1;
        v_batch.parked := 1;
        v_batch.dead := router.park_event(v_events[1], p_error_code, p_error_message)::integer;
        v_batch.reached_at := (v_events[1]).created_at;
        v_batch.reached_id := (v_events[1]).id;
    end if;
    return v_batch;
end
$function$;
