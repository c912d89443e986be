-- router.give_referrals: gives referrals that came without a message to messages, and takes them away from those that had them
-- before. A message shows the latest of those that it has, unless it came with one of its own.
-- takes: rows of router.referrals, with the message that each is to have
-- returns: how many have another one now
-- reads: webhook_events by key
-- writes: router.referrals (message_id); public.messages (metadata.referral), not of one that is deleted
-- locks: messages in the order of their id
create or replace function router.give_referrals(p_referrals router.referrals[])
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
    v_messages uuid[];  -- that have one more, or one less
    v_count    integer;
    v_ids      uuid[];
    v_metadata jsonb[];
    v_path     text;
begin
    select array_agg(g.message_id) || array_agg(r.message_id), count(*) into v_messages, v_count
    from unnest(p_referrals) g
    cross join lateral (
        select r.message_id
        from router.referrals r
        where r.channel = g.channel and r.account = g.account and r.person = g.person and r.at = g.at and r.ord = g.ord
        limit 1
    ) r
    where r.message_id is distinct from g.message_id;
    if v_count = 0 then
        return 0;
    end if;
    perform
    from (select distinct m.id from unnest(v_messages) m (id) order by m.id) o
    cross join lateral (select from public.messages m where m.id = o.id limit 1 for no key update) m;

    update router.referrals r
    set message_id = g.message_id
    from unnest(p_referrals) g
    where r.channel = g.channel and r.account = g.account and r.person = g.person and r.at = g.at and r.ord = any (array[g.ord])
      and r.message_id is distinct from g.message_id;

    select array_agg(s.id), array_agg(s.told) into v_ids, v_metadata
    from (
        select m.id, m.metadata,
               case when r.referral is null then m.metadata - 'referral'
                    else m.metadata || jsonb_build_object('referral', r.referral) end as told
        from (select distinct m.id from unnest(v_messages) m (id) order by m.id) o
        cross join lateral (
            select m.id, m.channel, m.provider_message_id, router.object_of(m.metadata) as metadata
            from public.messages m
            where m.id = o.id
            limit 1
        ) m
        left join lateral (
            select r.referral
            from router.referrals r
            where r.message_id = m.id
            order by r.at desc, r.ord desc
            limit 1
        ) r on true
        left join lateral (
            select w.normalized
            from public.webhook_events w
            where w.channel = m.channel
              and w.event_id >= m.provider_message_id and w.event_id <= m.provider_message_id
            order by w.event_id
            limit 1
        ) w on true
        where not m.metadata ? 'deleted_at' and (w.normalized -> 'metadata' ? 'referral') is not true
    ) s
    where s.told <> s.metadata;
    if v_ids is not null then
        v_path := pg_catalog.set_config('search_path', router.application_path(), true);
        update public.messages m
        set metadata = n.metadata
        from rows from (pg_catalog.unnest(v_ids), pg_catalog.unnest(v_metadata)) n (id, metadata)
        where m.id operator(pg_catalog.=) any (array[n.id]);
        v_path := pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    end if;
    return v_count;
end
$function$;
