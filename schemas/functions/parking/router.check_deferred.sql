-- router.check_deferred: has constraints checked now that are deferred to the commit, and deferred again for what follows.
-- takes: their names, as router.deferred_constraints gives them; empty: none; null: all there are, for the rest of the
--   transaction as well, which must be one of ours with nothing else in it
-- raises: what a violated constraint, or a constraint trigger of the application, raises
create or replace function router.check_deferred(p_constraints text)
returns void
language plpgsql
volatile
set search_path = pg_catalog, public, extensions, pg_temp  -- public, extensions: for the application's triggers
as $function$
begin
    if p_constraints is null then
        set constraints all immediate;
    elsif p_constraints <> '' then
        execute 'set constraints ' || p_constraints || ' immediate';
        execute 'set constraints ' || p_constraints || ' deferred';
    end if;
end
$function$;
