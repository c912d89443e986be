-- router.apply_until: has messages of ours know of watermarks that are in router.watermarks already.
-- takes: watermarks
-- returns: changed: how many messages have come further by them; waits: the places of those of whose person and account there
--   is no conversation with a message
-- reads: contact_channels by key, conversations by contact, messages between the watermark and the one before it
-- writes: see router.apply_statuses
create or replace function router.apply_until(p_watermarks router.watermarks[], out changed integer, out waits integer[])
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
    v_places        integer[];  -- with v_conversations, side by side
    v_conversations uuid[];
    v_effects       router.effect[];
begin
    changed := 0;
    select array_agg(w.ordinality::integer), array_agg(v.id)
    into v_places, v_conversations
    from unnest(p_watermarks) with ordinality w
    -- Indexes of the application have the collation of its columns.
    cross join lateral (select w.channel collate "default" as channel, w.person collate "default" as person) i
    cross join lateral (
        select k.contact_id
        from public.contact_channels k
        where k.channel = i.channel and k.external_id = i.person
        limit 1
    ) k
    cross join lateral (
        select v.id
        from public.conversations v
        where v.contact_id = k.contact_id and v.channel is not distinct from i.channel
          and (v.account_id is null or v.account_id = w.account or w.account = '')
        offset 0
    ) v
    cross join lateral (
        select m.id from public.messages m where m.conversation_id = v.id order by m.conversation_id, m.sent_at limit 1
    ) m;
    waits := array(select w.place::integer from generate_series(1, cardinality(p_watermarks)) w (place)
                   where w.place = any (v_places) is not true);
    if v_places is null then
        return;
    end if;

    -- What was written up to the watermark before is read at its time already, unless that one tells a later time.
    select array_agg(router.status_of(m.id, w.status, w.at))
    into v_effects
    from unnest(v_places, v_conversations) p (place, conversation_id)
    cross join lateral (select (p_watermarks[p.place]).*) w
    left join lateral (
        select b.until
        from router.watermarks b
        where b.channel = w.channel and b.account = w.account and b.person = w.person and b.status = w.status
          and b.until < w.until and b.at <= w.at
        order by b.channel, b.account, b.person, b.status, b.until desc
        limit 1
    ) b on true
    cross join lateral (
        select m.id
        from public.messages m
        where m.conversation_id = p.conversation_id and m.sent_at > coalesce(b.until, '-infinity') and m.sent_at <= w.until
          and m.direction = 'outbound'
        order by m.conversation_id, m.sent_at
        offset 0
    ) m;
    if v_effects is not null then
        changed := router.apply_statuses(v_effects);
    end if;
end
$function$;
