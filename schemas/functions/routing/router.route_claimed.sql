-- router.route_claimed: routes, parks or holds claimed events and sums up.
-- takes: claimed events, null for none; the limit they were claimed with; p_constraints as router.check_deferred
-- returns: claimed, inserted, parked, dead, held, faults: counts, without comments that have begun to wait, see
--   router.route_own_comments; channels and ages (seconds since created_at, zero where that is no finite time or lies ahead):
--   one entry per routed event; reached: the last event of a full batch, -infinity standing for no created_at; otherwise
--   nothing is left, and it is the time of the call
-- raises: see router.refuse_hidden_rows, if there is none
create or replace function router.route_claimed(p_events router.event[], p_limit integer, p_constraints text default null)
returns router.batch
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $function$
declare
    v_batch router.batch;
    v_done  record;
    v_count integer := coalesce(cardinality(p_events), 0);
    v_own   boolean := false;  -- there are comments of our own, of which some may begin to wait
    v_waits uuid[] := '{}';
begin
    v_batch.claimed := v_count;
    v_batch.inserted := 0;
    v_batch.parked := 0;
    v_batch.dead := 0;
    v_batch.held := 0;
    v_batch.faults := 0;
    v_batch.reached_at := statement_timestamp();
    v_batch.reached_id := '00000000-0000-0000-0000-000000000000';
    if v_count = 0 then
        if row_security_active('public.webhook_events') then
            perform router.refuse_hidden_rows();
        end if;
    else
        if v_count > 1 or (p_events[1]).normalized is not null then
            v_own := exists (select from unnest(p_events) e where e.normalized ->> 'own_comment' is not null);
        end if;
        if v_own then
            v_done := router.route_own_comments(p_events, p_constraints);
            v_waits := v_done.waiting;
            v_batch.claimed := v_count - cardinality(v_waits);
        else
            v_done := router.route_or_hold(p_events, p_constraints);
        end if;
        v_batch.inserted := v_done.inserted;
        v_batch.parked := cardinality(v_done.parked);
        v_batch.dead := v_done.dead;
        v_batch.held := cardinality(v_done.held);
        v_batch.held_reason := v_done.reason;
        v_batch.faults := v_done.faults;
        if v_batch.held > 0 then
            perform router.postpone(v_done.held);
        end if;
        if v_batch.parked + v_batch.held < v_batch.claimed then
            select array_agg(e.channel),
                   array_agg(case when isfinite(e.created_at)
                                  then greatest(extract(epoch from clock_timestamp() - e.created_at), 0)::real
                                  else 0 end)
            into v_batch.channels, v_batch.ages
            from unnest(p_events) e
            where v_batch.parked + v_batch.held = 0 and not v_own or e.id <> all (v_done.parked || v_done.held || v_waits);
        end if;
    end if;
    if v_count >= p_limit then
        v_batch.reached_at := coalesce((p_events[v_count]).created_at, '-infinity');
        v_batch.reached_id := (p_events[v_count]).id;
    end if;
    v_batch.seconds := extract(epoch from clock_timestamp() - statement_timestamp());
    return v_batch;
end
$function$;
