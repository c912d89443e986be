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
set enable_sort = off
set enable_incremental_sort = off
set jit = off
as $function$
declare
    v_row record;
begin
    delete from router.waiting w
    where w.ctid = any (array(
        select w.ctid
        from unnest(p_effects) e
        cross join lateral (
            select w.ctid
            from router.waiting w
            where w.channel = e.channel and w.atom_id >= e.atom_id and w.atom_id <= e.atom_id
            order by w.atom_id
            limit 1
        ) w
        where e.is_waiting and e.place <> all (p_waits) and e.place <> all (p_refused)
    ));
    for v_row in
        select w.ctid, p_reasons[array_position(p_refused, e.place)] as reason
        from unnest(p_effects) e
        cross join lateral (
            select w.ctid
            from router.waiting w
            where w.channel = e.channel and w.atom_id >= e.atom_id and w.atom_id <= e.atom_id
            order by w.atom_id
            limit 1
        ) w
        where e.is_waiting and e.place = any (p_refused)
    loop
        update router.waiting w set attempts = w.attempts + 1, error = v_row.reason where w.ctid = v_row.ctid;
    end loop;
    return router.keep_waiting(
        array(select e::router.effect from unnest(p_effects) e where e.place = any (p_waits || p_refused)),
        p_refused, p_reasons);
end
$function$;
