-- router.reason_of: an error in one line for the log and for operators: SQLSTATE, message, and the objects it is about.
-- takes: an error that was caught
-- returns: the line, without anything of an event: see router.words_of
-- reads: see router.words_of
create or replace function router.reason_of(p_error router.fault)
returns text
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $function$
begin
    return p_error.code || coalesce(': ' || router.words_of(p_error), '') || coalesce(' ' || router.objects_of(p_error), '');
end
$function$;
