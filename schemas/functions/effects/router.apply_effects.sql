-- router.apply_effects: applies what deliveries say of messages and people that are there. What finds nothing to change waits,
-- and so does what the application refuses, each alone.
-- takes: effects, see router.effect_of
-- returns: for each kind: applied, how many changed something; waiting, how many have begun to wait; known: the others. Null
--   if there are no effects
-- raises: what will pass (deadlock, lock timeout, full disk, shutdown): nothing is applied then
-- writes: see router.apply_found
create or replace function router.apply_effects(p_effects router.effect[])
returns jsonb
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $function$
begin
    if coalesce(cardinality(p_effects), 0) = 0 then
        return null;
    end if;
    return router.apply_found(router.find_effect_targets(p_effects));
end
$function$;
