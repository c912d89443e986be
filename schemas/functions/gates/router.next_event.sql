-- router.next_event: the event that a batch of one would take now. See router.route_one.
-- takes: p_due: look among the parked events whose next attempt is due instead; bounds and lane as router.claim_by_arrival
-- returns: its id; null if there is none
create or replace function router.next_event(
    p_due boolean, p_after_at timestamptz, p_after_id uuid, p_before timestamptz, p_lane integer, p_lanes integer
) returns uuid
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $function$
declare
    v_events router.event[] := case when p_due then router.claim_due(null, 1)
                                    else router.claim_by_arrival(1, p_after_at, p_after_id, p_before, p_lane, p_lanes) end;
begin
    return (v_events[1]).id;
end
$function$;
