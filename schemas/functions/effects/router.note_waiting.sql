-- router.note_waiting: keeps account of effects that have been tried: what waits or was refused is in router.waiting, and
-- nothing else.
-- takes: effects; the places of those that wait; of those that were refused, with the reason of each
-- returns: how many have begun to wait
-- writes: router.waiting; nothing for those that go on waiting
create or replace function router.note_waiting(
    p_effects router.effect[], p_waits integer[], p_refused integer[], p_reasons text[]
) returns integer
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $function$
begin
    delete from router.waiting w
    using unnest(p_effects) e
    where e.is_waiting and e.place <> all (p_waits) and e.place <> all (p_refused)
      and w.channel = e.channel and w.atom_id = any (array[e.atom_id]);
    update router.waiting w
    set attempts = w.attempts + 1, error = p_reasons[array_position(p_refused, e.place)]
    from unnest(p_effects) e
    where e.is_waiting and e.place = any (p_refused)
      and w.channel = e.channel and w.atom_id = any (array[e.atom_id]);
    return router.keep_waiting(
        array(select e::router.effect from unnest(p_effects) e where e.place = any (p_waits || p_refused)),
        p_refused, p_reasons);
end
$function$;
