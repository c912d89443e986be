-- router.route_or_park: routes claimed events; a batch that fails is split until the failing event is alone, and that one is
-- parked. An error that is not an event's own fault (deadlock, lock timeout, full disk, shutdown, read-only) is passed on:
-- nothing is parked then, and the same batch can be tried again.
-- takes: events whose rows the caller has locked
-- returns: inserted messages, ids of parked events, how many of those are dead
create or replace function router.route_or_park(
    p_events router.event[], out inserted integer, out parked uuid[], out dead integer
)
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $function$
declare
    v_size  integer := cardinality(p_events);
    v_first record;
    v_rest  record;
begin
    parked := '{}';
    dead := 0;
    begin
        inserted := router.route_events(p_events);
        set constraints all immediate;  -- at the commit it would be too late to find the failing event
        return;
    exception
        when transaction_rollback or insufficient_resources or operator_intervention or system_error
             or lock_not_available or invalid_transaction_state then
            raise;
        when others or assert_failure then  -- "others" alone does not catch failed assertions
            if v_size = 1 then
                inserted := 0;
                parked := array[(p_events[1]).id];
                dead := router.park_event(p_events[1], sqlstate, sqlerrm)::integer;
                return;
            end if;
    end;
    v_first := router.route_or_park(p_events[:v_size / 2]);
    v_rest := router.route_or_park(p_events[v_size / 2 + 1:]);
    inserted := v_first.inserted + v_rest.inserted;
    parked := v_first.parked || v_rest.parked;
    dead := v_first.dead + v_rest.dead;
end
$function$;
