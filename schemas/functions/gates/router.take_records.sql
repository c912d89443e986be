-- router.take_records: router.ingest_and_route, which also notes, in the same transaction, how far the records of partitions
-- are in effect: what is noted is in effect, whatever becomes of this database.
-- takes: p_lines, p_channels, p_event_ids, p_keep, p_untried as router.ingest_and_route;
--   p_group, p_topics, p_partitions, p_known, p_offsets as router.note_positions
-- returns: as these two
-- writes: as these two
-- locks: first as router.ingest_and_route, then as router.note_positions
create or replace function router.take_records(
    p_lines text, p_channels text[], p_event_ids text[], p_keep boolean[], p_untried boolean, p_group text, p_topics text[],
    p_partitions integer[], p_known bigint[], p_offsets bigint[],
    out batch router.batch, out refused integer[], out codes text[], out reasons text[], out behind_topics text[],
    out behind_partitions integer[], out behind_offsets bigint[]
)
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $function$
declare
    v_done   record;
    v_behind record;
begin
    v_done := router.ingest_and_route(p_lines, p_channels, p_event_ids, p_keep, p_untried);
    batch := v_done.batch;
    refused := v_done.refused;
    codes := v_done.codes;
    reasons := v_done.reasons;
    v_behind := router.note_positions(p_group, p_topics, p_partitions, p_known, p_offsets);
    behind_topics := v_behind.behind_topics;
    behind_partitions := v_behind.behind_partitions;
    behind_offsets := v_behind.behind_offsets;
end
$function$;
