-- router.without_deleted: leaves out what is about messages that their authors have deleted: it must not wait for them.
-- takes: effects; subject: the hash of the target
-- returns: the others, in their order
-- reads: router.deleted_messages by key, nothing else as long as there are none
create or replace function router.without_deleted(p_effects router.effect[])
returns router.effect[]
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
    if not exists (select from router.deleted_messages) then
        return p_effects;
    end if;
    return array(
        select e::router.effect
        from unnest(p_effects) e
        left join lateral (
            select true as is_deleted
            from router.deleted_messages d
            where d.subject >= e.subject and d.subject <= e.subject
            order by d.subject
            limit 1
        ) d on true
        where d.is_deleted is null
    );
end
$function$;
