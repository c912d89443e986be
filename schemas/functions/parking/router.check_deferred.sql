-- router.check_deferred: has constraints checked now that are deferred to the commit, and deferred again for what follows.
-- takes: their names, as router.deferred_constraints gives them; empty: none; null: all there are, for the rest of the
--   transaction as well, which must be one of ours with nothing else in it
-- raises: what a violated constraint, or a constraint trigger of the application, raises
create or replace function router.check_deferred(p_constraints text)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $function$
declare
    v_check constant text := format('set constraints %s immediate', coalesce(p_constraints, 'all'));
    v_defer constant text := format('set constraints %s deferred', p_constraints);
    v_path  text;
begin
    if p_constraints = '' then
        return;
    end if;
    v_path := pg_catalog.set_config('search_path', router.application_path(), true);
    execute v_check;
    if p_constraints is not null then
        execute v_defer;
    end if;
end
$function$;
