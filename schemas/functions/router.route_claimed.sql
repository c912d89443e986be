-- router.route_claimed: routes or parks claimed events and sums up.
-- takes: claimed events, null for none
-- returns: as router.route_batch
create or replace function router.route_claimed(p_events router.event[])
returns router.batch
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $function$
declare
    v_batch  router.batch;
    v_done   record;
    v_count  integer := coalesce(cardinality(p_events), 0);
begin
    v_batch.claimed := v_count;
    if v_count = 0 then
        v_batch.inserted := 0;
        v_batch.parked := 0;
        v_batch.dead := 0;
        return v_batch;
    end if;
    v_done := router.route_or_park(p_events);
    v_batch.inserted := v_done.inserted;
    v_batch.parked := cardinality(v_done.parked);
    v_batch.dead := v_done.dead;
    v_batch.last_at := (p_events[v_count]).created_at;
    v_batch.last_id := (p_events[v_count]).id;
    select array_agg(e.channel), array_agg(extract(epoch from clock_timestamp() - e.created_at)::real)
    into v_batch.channels, v_batch.ages
    from unnest(p_events) e
    where cardinality(v_done.parked) = 0 or e.id <> all (v_done.parked);
    return v_batch;
end
$function$;
