-- router.scrub_subjects: takes the bodies of deliveries away that hold the text of messages which their authors have deleted.
-- A delivery that is not processed yet keeps its body until it is, or is given up, see router.store_deliveries.
-- takes: hashes of the messages, see router.deliveries
-- returns: how many had a body
-- writes: router.deliveries
create or replace function router.scrub_subjects(p_subjects bigint[])
returns integer
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = on
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $function$
declare
    v_count integer;
begin
    if p_subjects = '{}' then
        return 0;
    end if;
    -- Only a bitmap scan reads an index of arrays, and callers have it off.
    update router.deliveries d
    set body = null
    where d.subjects && p_subjects and (d.processed_at is not null or d.next_attempt_at = 'infinity')
      and d.body is not null;
    get diagnostics v_count = row_count;
    return v_count;
end
$function$;
