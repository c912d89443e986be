-- router.route_claimed: routes or parks claimed events and sums up.
-- takes: claimed events, null for none; the limit they were claimed with
-- returns: claimed, inserted, parked, dead: counts; channels and ages (seconds since created_at): one entry per routed event;
--   reached: the last event of a full batch; otherwise nothing is left, and it is the time of the call
create or replace function router.route_claimed(p_events router.event[], p_limit integer)
returns router.batch
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $function$
declare
    v_batch router.batch;
    v_done  record;
    v_count integer := coalesce(cardinality(p_events), 0);
begin
    v_batch.claimed := v_count;
    v_batch.inserted := 0;
    v_batch.parked := 0;
    v_batch.dead := 0;
    v_batch.held := 0;
    v_batch.reached_at := statement_timestamp();
    v_batch.reached_id := '00000000-0000-0000-0000-000000000000';
    if v_count > 0 then
        v_done := router.route_or_park(p_events);
        v_batch.inserted := v_done.inserted;
        v_batch.parked := cardinality(v_done.parked);
        v_batch.dead := v_done.dead;
        if v_batch.parked = v_count and v_count > 1 then
            perform router.refuse_to_park_all(v_done.parked);
        end if;
        select array_agg(e.channel),
               array_agg(case when isfinite(e.created_at) then extract(epoch from clock_timestamp() - e.created_at)::real
                              else 0 end)
        into v_batch.channels, v_batch.ages
        from unnest(p_events) e
        where v_batch.parked = 0 or e.id <> all (v_done.parked);
    end if;
    if v_count >= p_limit then
        v_batch.reached_at := (p_events[v_count]).created_at;
        v_batch.reached_id := (p_events[v_count]).id;
    end if;
    v_batch.seconds := extract(epoch from clock_timestamp() - statement_timestamp());
    return v_batch;
end
$function$;
