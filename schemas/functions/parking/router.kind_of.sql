-- router.kind_of: what is kept of the error of a parked event, besides its SQLSTATE: which kind of error it is, the message
-- and the objects it is about, without anything of the event.
-- takes: an error that was caught
-- returns: for example: check_violation: new row for relation "messages" violates check constraint "short" (table
--   public.messages, constraint short); or, for an error that code of the application raises: raise_exception (function judge())
-- reads: see router.words_of
create or replace function router.kind_of(p_error router.fault)
returns text
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $function$
begin
    return router.condition_of(p_error.code) || coalesce(': ' || router.words_of(p_error), '')
           || coalesce(' ' || router.objects_of(p_error), '');
end
$function$;
