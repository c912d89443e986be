-- router.park_or_hold: parks events. One that cannot even be parked, because a trigger of the application on webhook_events
-- raises an error for it, say, is held: left as it is, while the others are parked.
-- takes: events whose rows the caller has locked; SQLSTATE of the error they have met, and router.kind_of it; p_constraints
--   as router.check_deferred
-- returns: as router.route_or_hold
create or replace function router.park_or_hold(
    p_events router.event[], p_code text, p_message text, p_constraints text,
    out parked uuid[], out dead integer, out held uuid[], out faults integer, out reason text
)
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $function$
declare
    v_size  constant integer := cardinality(p_events);
    v_step  constant integer := case when v_size > 8 then (v_size + 1) / 2 else 1 end;
    v_event router.event;
    v_error router.fault;
    v_done  record;
begin
    parked := '{}';
    dead := 0;
    held := '{}';
    faults := 0;
    begin
        foreach v_event in array p_events loop
            dead := dead + router.park_event(v_event, p_code, p_message)::integer;
            parked := parked || v_event.id;
        end loop;
        perform router.check_deferred(p_constraints);
        return;
    exception
        when transaction_rollback or insufficient_resources or operator_intervention or system_error
             or lock_not_available or invalid_transaction_state then
            raise;
        when others or assert_failure then
            get stacked diagnostics
                v_error.code = returned_sqlstate, v_error.message = message_text, v_error.context = pg_exception_context,
                v_error.schema_name = schema_name, v_error.table_name = table_name, v_error.column_name = column_name,
                v_error.constraint_name = constraint_name;
    end;
    parked := '{}';
    dead := 0;
    if v_size = 1 then
        held := array[(p_events[1]).id];
        faults := router.is_schema_fault(v_error)::integer;
        if faults = 1 then
            reason := router.reason_of(v_error);
        else
            if v_error.code <> 'RW005' then
                v_error.message := '';  -- it may quote the event
            end if;
            reason := format('an event that fails with %s cannot be parked: %s', p_code, router.reason_of(v_error));
        end if;
        return;
    end if;
    p_constraints := coalesce(p_constraints, router.deferred_constraints(true));
    for v_first in 1..v_size by v_step loop
        v_done := router.park_or_hold(p_events[v_first:v_first + v_step - 1], p_code, p_message, p_constraints);
        parked := parked || v_done.parked;
        dead := dead + v_done.dead;
        held := held || v_done.held;
        reason := case when faults = 0 and v_done.faults > 0 then v_done.reason else coalesce(reason, v_done.reason) end;
        faults := faults + v_done.faults;
    end loop;
end
$function$;
