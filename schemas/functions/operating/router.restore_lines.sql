-- router.restore_lines: as router.ingest_lines, for lines of an archive. For the owner alone: a line sets any column.
-- takes: lines, separated by line feeds, see router.archive_line
-- returns: as router.ingest_lines
-- writes: see router.restore_events
create or replace function router.restore_lines(
    p_lines text, out inserted integer, out refused integer[], out codes text[], out reasons text[]
)
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $function$
declare
    v_done record;
begin
    v_done := router.ingest_or_refuse(string_to_array(p_lines, E'\n'), 0, true);
    inserted := v_done.inserted;
    refused := v_done.refused;
    codes := v_done.codes;
    reasons := v_done.reasons;
end
$function$;
