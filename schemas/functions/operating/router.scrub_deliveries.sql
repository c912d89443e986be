-- router.scrub_deliveries: takes the bodies of deliveries away that mention somebody who is to be forgotten. One that is not in effect
-- yet, and will be tried again, keeps its body: it would be lost for the others in it.
-- takes: their ids and times of arrival, side by side
-- returns: scrubbed: how many had a body; waiting: how many are not in effect yet
-- writes: router.deliveries
create or replace function router.scrub_deliveries(
    p_ids bigint[], p_times timestamptz[], out scrubbed integer, out waiting integer
)
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $function$
begin
    update router.deliveries d
    set body = null, subjects = null, error = null
    from unnest(p_ids, p_times) i (id, received_at)
    where d.id = i.id and d.received_at = i.received_at and d.body is not null
      and (d.processed_at is not null or d.next_attempt_at = 'infinity');
    get diagnostics scrubbed = row_count;
    waiting := cardinality(p_ids) - scrubbed;
end
$function$;
