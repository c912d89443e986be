-- router.note_positions: how far the records of some partitions are in effect. A position only moves on: a member that has
-- lost a partition without knowing it, and notes where it has come, takes nothing back. It goes back for a caller alone who
-- means it, since the records have been numbered anew or are read again from the beginning.
-- takes: one entry per partition in each of:
--     p_topics, p_partitions
--     p_known    the position that the caller last noted or read here; null: it knows none
--     p_offsets  the first record that is not in effect; null: it is only looked how far the database is; less than p_known:
--                the position is set back, if it still is the one that the caller knows
-- returns: behind_topics, behind_partitions, behind_offsets: where the database is behind p_known, since it has gone back (a
--   standby that had not received all, a backup); the offset is null where nothing is noted any more. These are not moved
-- writes: router.kafka_positions
-- locks: the rows, by topic and partition
create or replace function router.note_positions(
    p_group text, p_topics text[], p_partitions integer[], p_known bigint[], p_offsets bigint[],
    out behind_topics text[], out behind_partitions integer[], out behind_offsets bigint[]
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
declare
    v_given record;
    v_noted bigint;
begin
    behind_topics := '{}';
    behind_partitions := '{}';
    behind_offsets := '{}';
    for v_given in
        select g.topic, g.partition, g.known, g.next_offset
        from unnest(p_topics, p_partitions, p_known, p_offsets) as g (topic, partition, known, next_offset)
        order by g.topic collate "C", g.partition
    loop
        update router.kafka_positions k
        set next_offset = case when k.next_offset = v_given.known then v_given.next_offset
                               else greatest(k.next_offset, v_given.next_offset) end,
            -- Set back, it speaks of other records, of which none has been given up.
            skipped = case when v_given.next_offset < v_given.known then null else k.skipped end,
            noted_at = now()
        where k.group_id = p_group and k.topic = v_given.topic and k.partition = v_given.partition
          and k.next_offset >= coalesce(v_given.known, 0) and v_given.next_offset is not null;
        continue when found;
        select k.next_offset into v_noted
        from router.kafka_positions k
        where k.group_id = p_group and k.topic = v_given.topic and k.partition = v_given.partition;
        if v_noted < v_given.known or v_noted is null and v_given.known is not null then
            behind_topics := behind_topics || v_given.topic;
            behind_partitions := behind_partitions || v_given.partition;
            behind_offsets := behind_offsets || v_noted;
        elsif v_given.next_offset is not null then
            insert into router.kafka_positions as k (group_id, topic, partition, next_offset)
            values (p_group, v_given.topic, v_given.partition, v_given.next_offset)
            on conflict (group_id, topic, partition) do update  -- by another member, just now
            set next_offset = greatest(k.next_offset, excluded.next_offset), noted_at = now();
        end if;
    end loop;
end
$function$;
