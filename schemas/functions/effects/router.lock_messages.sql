-- router.lock_messages: locks the messages that effects change.
-- takes: effects with message_id
-- returns: those messages that are there, and that their author has not deleted
-- locks: messages in the order of their id, the deleted ones too
create or replace function router.lock_messages(p_effects router.effect[])
returns uuid[]
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
    return (
        select array_agg(m.id order by m.id) filter (where (m.metadata ? 'deleted_at') is not true)
        from (select distinct e.message_id from unnest(p_effects) e order by e.message_id) e
        cross join lateral (
            select m.id, m.metadata from public.messages m where m.id = e.message_id limit 1 for no key update
        ) m
    );
end
$function$;
