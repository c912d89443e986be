-- router.noted_positions: how far the records of some partitions are in effect.
-- takes: p_group; p_topics, p_partitions: one entry per partition in each
-- returns: a row for each partition of which something is noted: topic, partition; next_offset: the first record that is not in
--   effect; skipped: a record that cannot be read, and that an operator has given up, see router.skip_record
-- reads: router.kafka_positions by key
create or replace function router.noted_positions(p_group text, p_topics text[], p_partitions integer[])
returns table (topic text, partition integer, next_offset bigint, skipped bigint)
language plpgsql
volatile  -- what others have committed counts
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $function$
#variable_conflict use_column
begin
    return query
    select g.topic, g.partition, k.next_offset, k.skipped
    from unnest(p_topics, p_partitions) as g (topic, partition)
    cross join lateral (
        select n.next_offset, n.skipped
        from router.kafka_positions n
        where n.group_id = p_group and n.topic = g.topic and n.partition = g.partition
        limit 1
    ) k;
end
$function$;
