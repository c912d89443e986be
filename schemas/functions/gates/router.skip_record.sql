-- router.skip_record: gives up a record that cannot be read: the member whose partition waits in front of it goes on behind it.
-- takes: p_group, p_topic, p_partition; p_offset: of that record
-- returns: next_offset: the first record that is not in effect; null: nothing is noted of the partition, and nothing was done;
--   given_up: p_offset is not in effect, and is given up now
-- writes: router.kafka_positions
create or replace function router.skip_record(
    p_group text, p_topic text, p_partition integer, p_offset bigint, out next_offset bigint, out given_up boolean
)
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $function$
#variable_conflict use_column
begin
    update router.kafka_positions k
    set skipped = case when k.next_offset <= p_offset then p_offset else k.skipped end
    where k.group_id = p_group and k.topic = p_topic and k.partition = p_partition
    returning k.next_offset, k.next_offset <= p_offset into next_offset, given_up;
    given_up := coalesce(given_up, false);
end
$function$;
