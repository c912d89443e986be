-- router.scrub_late: scrubs what came in at the very moment at which its author deleted it: neither transaction has seen the
-- other one. To be called now and then.
-- takes: messages deleted from then on are looked at
-- returns: how many deliveries had a body
-- reads: router.deleted_messages and router.waiting by time, the latest thousand of each at most
-- writes: router.deliveries; router.waiting: edits of messages that are deleted
create or replace function router.scrub_late(p_since timestamptz)
returns integer
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
    v_waiting record;
begin
    for v_waiting in
        select l.channel, l.atom_id
        from (
            select w.channel, w.atom_id, w.kind, (w.effect ->> 'subject')::bigint as subject
            from router.waiting w
            where w.received_at >= p_since
            order by w.received_at desc
            limit 1000
        ) l
        cross join lateral (
            select from router.deleted_messages d
            where d.subject >= l.subject and d.subject <= l.subject
            order by d.subject
            limit 1
        ) d
        where l.kind in ('edit', 'media')
    loop
        delete from router.waiting w
        where w.channel = v_waiting.channel and w.atom_id >= v_waiting.atom_id and w.atom_id <= v_waiting.atom_id;
    end loop;
    return router.scrub_subjects(array(
        select d.subject
        from router.deleted_messages d
        where d.deleted_at >= p_since
        order by d.deleted_at desc
        limit 1000
    ));
end
$function$;
