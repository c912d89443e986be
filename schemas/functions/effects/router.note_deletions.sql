-- router.note_deletions: what a message says that its author has deleted is to be nowhere, also where the message itself is
-- not, or not yet: its event, the deliveries that it came with, and edits of it that wait are scrubbed, and it is noted that its
-- text must not come back.
-- takes: effects of the kind "delete"; subject: the hash of the target; subjects of others may be null
-- writes: router.deleted_messages, router.deliveries, router.waiting; public.webhook_events, see router.scrub_events
-- locks: webhook_events in the order of their key
create or replace function router.note_deletions(p_effects router.effect[])
returns void
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
    insert into router.deleted_messages (subject)
    select distinct e.subject
    from unnest(p_effects) e
    left join lateral (select true as known from router.deleted_messages d where d.subject = e.subject limit 1) d on true
    where e.subject is not null and d.known is null
    order by e.subject
    on conflict (subject) do nothing;
    perform router.scrub_subjects(array(select distinct e.subject from unnest(p_effects) e where e.subject is not null));

    for v_waiting in
        select w.channel, w.atom_id
        from unnest(p_effects) e
        cross join lateral (
            select w.channel, w.atom_id, w.kind from router.waiting w where w.channel = e.channel and w.target = e.target
            union all
            select w.channel, w.atom_id, w.kind from router.waiting w where w.channel = e.channel and w.token = e.token
        ) w
        where w.kind in ('edit', 'media')
        group by w.channel, w.atom_id
        order by w.channel, w.atom_id
    loop
        delete from router.waiting w
        where w.channel = v_waiting.channel and w.atom_id >= v_waiting.atom_id and w.atom_id <= v_waiting.atom_id;
    end loop;

    perform router.scrub_events(
        array_agg(e.channel), array_agg(e.target), array_agg(coalesce(e.at, e.received_at, now())))
    from unnest(p_effects) e;
end
$function$;
