-- router.ingest_lines: stores the events of NDJSON lines, in one transaction. Lines that the database refuses are left out.
-- takes: lines, separated by line feeds, each a JSON object whose fields are named as the columns of webhook_events; other
--   fields are ignored
-- returns: inserted: how many events are new; refused: the places (from 1) of the lines refused, with the SQLSTATE and
--   message of each in codes and reasons. All other lines were known already, from the table or from an earlier line
-- writes: see router.ingest_events
create or replace function router.ingest_lines(
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
    v_done := router.ingest_or_refuse(string_to_array(p_lines, E'\n'), 0);
    inserted := v_done.inserted;
    refused := v_done.refused;
    codes := v_done.codes;
    reasons := v_done.reasons;
end
$function$;
