-- router.park_next: parks the event that the next batch with these bounds would start with, without trying it. The service
-- calls it when that event alone exceeds the statement timeout, which no handler inside the database can catch.
-- takes: bounds as router.claim_by_arrival; SQLSTATE and message to record
-- returns: as router.route_batch
create or replace function router.park_next(
    p_after_at timestamptz, p_after_id uuid, p_before timestamptz, p_error_code text, p_error_message text
) returns router.batch
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $function$
declare
    v_events router.event[] := router.claim_by_arrival(1, p_after_at, p_after_id, p_before);
    v_batch  router.batch;
begin
    v_batch.claimed := coalesce(cardinality(v_events), 0);
    v_batch.inserted := 0;
    v_batch.parked := v_batch.claimed;
    v_batch.dead := 0;
    if v_batch.claimed = 1 then
        v_batch.dead := router.park_event(v_events[1], p_error_code, p_error_message)::integer;
        v_batch.last_at := (v_events[1]).created_at;
        v_batch.last_id := (v_events[1]).id;
    end if;
    return v_batch;
end
$function$;
