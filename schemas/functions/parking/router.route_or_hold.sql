-- router.route_or_hold: routes claimed events; a batch that fails is split until the failing event is alone. That one is
-- parked, unless the schema is at fault: then it is held, that is, left as it is, and the next call tries it again. An error
-- that will pass (deadlock, lock timeout, full disk, shutdown, read-only) is raised: then nothing is parked or held.
-- takes: events whose rows the caller has locked; p_constraints as router.check_deferred
-- returns: inserted messages; ids of parked events, how many of those are dead; ids of held events, and why: see
--   router.reason_of; faults: how many of the held ones are so for a fault of the schema, and not since they cannot be parked
create or replace function router.route_or_hold(
    p_events router.event[], p_constraints text,
    out inserted integer, out parked uuid[], out dead integer, out held uuid[], out faults integer, out reason text
)
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $function$
declare
    v_size  constant integer := cardinality(p_events);
    v_step  integer := case when v_size > 8 then (v_size + 1) / 2 else 1 end;
    v_error router.fault;
    v_unfit router.event[];
    v_done  record;
begin
    inserted := 0;
    parked := '{}';
    dead := 0;
    held := '{}';
    faults := 0;
    v_done := router.route(p_events, p_constraints, true);
    v_error := v_done.error;
    if v_error.code is null then
        inserted := v_done.made;
        return;
    end if;
    if v_size = 1 then
        if router.is_schema_fault(v_error) then
            held := array[(p_events[1]).id];
            faults := 1;
            reason := router.reason_of(v_error);
        else
            select d.parked, d.dead, d.held, d.faults, d.reason
            into parked, dead, held, faults, reason
            from router.park_or_hold(p_events, v_error.code, router.kind_of(v_error), p_constraints) d;
        end if;
        return;
    end if;

    p_constraints := coalesce(p_constraints, router.deferred_constraints(true));
    -- Those that can be told by their looks are parked together: one by one, a thousand of them would cost thousands of
    -- subtransactions.
    select array_agg(u.e) filter (where u.unfit), array_agg(u.e) filter (where not u.unfit)
    into v_unfit, p_events
    from (
        select e,
               coalesce(case v_error.code
                            when '22008' then not isfinite(e.sent_at)
                            when '54000' then greatest(octet_length(e.author_id), octet_length(e.post_id),
                                                       octet_length(e.event_id)) > 2600  -- no key holds more than 2,704
                        end, false) as unfit
        from unnest(p_events) e
        offset 0
    ) u;
    if v_unfit is not null then
        select d.parked, d.dead, d.held, d.faults, d.reason
        into parked, dead, held, faults, reason
        from router.park_or_hold(v_unfit, v_error.code, router.kind_of(v_error), p_constraints) d;
        if p_events is null then
            return;
        end if;
        v_step := v_size;  -- the others may be fit, all of them
    end if;
    for v_first in 1..cardinality(p_events) by v_step loop
        v_done := router.route_or_hold(p_events[v_first:v_first + v_step - 1], p_constraints);
        inserted := inserted + v_done.inserted;
        parked := parked || v_done.parked;
        dead := dead + v_done.dead;
        held := held || v_done.held;
        reason := case when faults = 0 and v_done.faults > 0 then v_done.reason else coalesce(reason, v_done.reason) end;
        faults := faults + v_done.faults;
    end loop;
end
$function$;
