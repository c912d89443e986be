-- router.find_events: events and messages by whatever id somebody has of them, or of whom or what they belong to. It tells
-- ids, times and states, and nothing that anybody wrote.
-- takes: p_channel: only there; null: wherever; ids of this database say by themselves where they belong. p_texts: an id in
--   all its spellings: that of a provider, of a person at a provider, or a UUID of a row of webhook_events, messages,
--   conversations, contacts or contact_channels
-- returns: hits: an array of objects, p_limit at most: first what the ids name, then what belongs to it, the latest first:
--   matched_by: 'event_id', 'event', 'message', 'conversation', 'contact' or 'person'; channel; event_id, null of a message
--   that the application made without an id of a provider; id, of the row of webhook_events; message_id; state, as
--   router.explain has it, null: webhook_events has no such row; event_date. channels: where it looked. is_partial: of what is
--   ready or parked, which no index finds by its author, only the latest 1,000 were looked at
-- reads: webhook_events, messages, contact_channels by key; conversations by contact; the latest messages of conversations;
--   ready and parked events by their indexes; the channels by steps from one to the next in the keys
-- raises: see router.refuse_hidden_rows
create or replace function router.find_events(
    p_channel text, p_texts text[], p_limit integer default 20,
    out hits jsonb, out channels text[], out is_partial boolean
)
language plpgsql
stable
security definer
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
    v_most    constant integer := 1000;
    v_channel constant text := router.channel_of(p_channel);
    v_next    text;
    v_ids     uuid[];
    v_known   jsonb := '[]';  -- what was found, the first finding first
    v_more    jsonb;
    v_people  uuid[];
    v_theirs  uuid[];
    v_named   uuid[];
    v_ready   bigint;
    v_parked  bigint;
begin
    if v_channel is not null then
        channels := array[v_channel];
    else
        channels := '{}';
        v_next := (select w.channel from public.webhook_events w order by w.channel, w.event_id limit 1);
        while v_next is not null and cardinality(channels) < 100 loop
            channels := channels || v_next;
            v_next := (select w.channel from public.webhook_events w where w.channel > v_next
                       order by w.channel, w.event_id limit 1);
        end loop;
        v_next := (select k.channel from public.contact_channels k order by k.channel, k.external_id limit 1);
        while v_next is not null and cardinality(channels) < 200 loop
            if v_next <> all (channels) then
                channels := channels || v_next;
            end if;
            v_next := (select k.channel from public.contact_channels k where k.channel > v_next
                       order by k.channel, k.external_id limit 1);
        end loop;
    end if;
    v_ids := array(
        select t.text::uuid
        from unnest(p_texts) t (text)
        where t.text ~ '^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$'
    );

    select coalesce(jsonb_agg(jsonb_build_object('by', 'event_id', 'channel', c.channel, 'event_id', t.text)), '[]')
    into v_known
    from unnest(channels) c (channel)
    cross join unnest(p_texts) t (text)
    where exists (select from public.webhook_events w
                  where w.channel = c.channel and w.event_id >= t.text and w.event_id <= t.text)
       or exists (select from public.messages m
                  where m.channel = c.channel and m.provider_message_id >= t.text and m.provider_message_id <= t.text);
    select coalesce(jsonb_agg(jsonb_build_object('by', 'event', 'channel', w.channel, 'event_id', w.event_id)), '[]')
    into v_more
    from unnest(v_ids) i (id)
    cross join lateral (select w.channel, w.event_id from public.webhook_events w where w.id = i.id limit 1) w;
    v_known := v_known || v_more;
    select coalesce(jsonb_agg(jsonb_build_object('by', 'message', 'channel', m.channel, 'event_id', m.provider_message_id,
                                                 'message_id', i.id, 'at', m.sent_at)), '[]')
    into v_more
    from unnest(v_ids) i (id)
    cross join lateral (
        select m.channel, m.provider_message_id, m.sent_at from public.messages m where m.id = i.id limit 1
    ) m;
    v_known := v_known || v_more;

    -- Whom the ids name, what conversations they have, and those that the ids name themselves.
    v_people := array(
        select k.contact_id
        from unnest(channels) c (channel)
        cross join unnest(p_texts) t (text)
        cross join lateral (
            select k.contact_id
            from public.contact_channels k
            where k.channel = c.channel and k.external_id >= t.text and k.external_id <= t.text
            order by k.external_id
            limit 1
        ) k
    );
    v_named := v_ids || array(
        select k.contact_id
        from unnest(v_ids) i (id)
        cross join lateral (select k.contact_id from public.contact_channels k where k.id = i.id limit 1) k
    );
    v_theirs := array(
        select v.id
        from unnest(v_people || v_named) p (id)
        cross join lateral (
            select v.id
            from public.conversations v
            where v.contact_id >= p.id and v.contact_id <= p.id
            order by v.contact_id
            limit v_most
        ) v
    );
    select coalesce(jsonb_agg(f.found order by f.at desc nulls last), '[]')
    into v_more
    from (
        select m.sent_at as at,
               jsonb_build_object('by', case when m.conversation_id = any (v_ids) then 'conversation'
                                             when m.contact = any (v_named) then 'contact' else 'person' end,
                                  'channel', m.channel, 'event_id', m.provider_message_id, 'message_id', m.id,
                                  'at', m.sent_at) as found
        from (
            select distinct v.id, v.contact_id
            from unnest(v_theirs || v_ids) i (id)
            cross join lateral (select v.id, v.contact_id from public.conversations v where v.id = i.id limit 1) v
        ) v
        cross join lateral (
            select m.id, m.conversation_id, m.channel, m.provider_message_id, m.sent_at, v.contact_id as contact
            from public.messages m
            where m.conversation_id >= v.id and m.conversation_id <= v.id
            order by m.conversation_id desc, m.sent_at desc
            limit p_limit
        ) m
        where v_channel is null or m.channel = v_channel or m.conversation_id = any (v_ids) or m.contact = any (v_named)
        order by m.sent_at desc nulls last
        limit p_limit
    ) f;
    v_known := v_known || v_more;

    select count(*), coalesce(jsonb_agg(jsonb_build_object('by', 'person', 'channel', w.channel, 'event_id', w.event_id)
                                        order by w.created_at desc)
                              filter (where btrim(w.author_id) = any (p_texts) and w.channel = any (channels)), '[]')
    into v_ready, v_more
    from (
        select w.channel, w.event_id, w.author_id, w.created_at
        from public.webhook_events w
        where w.routed_at is null and w.parked_until is null
        order by w.created_at desc, w.id desc
        limit v_most
    ) w;
    v_known := v_more || v_known;
    select count(*), coalesce(jsonb_agg(jsonb_build_object('by', 'person', 'channel', w.channel, 'event_id', w.event_id)
                                        order by w.created_at desc)
                              filter (where btrim(w.author_id) = any (p_texts) and w.channel = any (channels)), '[]')
    into v_parked, v_more
    from (
        select w.channel, w.event_id, w.author_id, w.created_at
        from public.webhook_events w
        where w.routed_at is null and w.parked_until is not null
        order by w.parked_until desc
        limit v_most
    ) w;
    v_known := v_more || v_known;
    is_partial := v_ready >= v_most or v_parked >= v_most;

    select coalesce(jsonb_agg(to_jsonb(h) - 'rank' - 'place' order by h.rank, h.event_date desc nulls last, h.place), '[]')
    into hits
    from (
        select k.by as matched_by, k.channel, k.event_id, w.id, coalesce(k.message_id, m.id) as message_id,
               case when w.id is null then null
                    when w.routed_at is not null then 'routed'
                    when w.parked_until is null then 'ready'
                    when p.discarded_at is not null then 'discarded'
                    when w.parked_until = 'infinity' then 'dead'
                    else 'parked' end as state,
               coalesce(w.event_date, k.at, m.sent_at) as event_date, k.rank, k.place
        from (
            select distinct on (k.channel, coalesce(k.event_id, k.message_id::text)) k.*
            from (
                select k.by, k.channel, k.event_id, k.message_id, k.at, k.place,
                       array_position('{event_id,event,message}', k.by) as rank
                from rows from (jsonb_to_recordset(v_known)
                                as (by text, channel text, event_id text, message_id uuid, at timestamptz))
                     with ordinality k (by, channel, event_id, message_id, at, place)
            ) k
            order by k.channel, coalesce(k.event_id, k.message_id::text), k.rank, k.place
        ) k
        left join lateral (
            select w.id, w.event_date, w.routed_at, w.parked_until
            from public.webhook_events w
            where w.channel = k.channel and w.event_id >= k.event_id and w.event_id <= k.event_id
            order by w.event_id
            limit 1
        ) w on true
        left join lateral (
            select p.discarded_at from router.parked_events p where p.event_id = w.id limit 1
        ) p on true
        left join lateral (
            select m.id, m.sent_at
            from public.messages m
            where m.channel = k.channel and m.provider_message_id >= k.event_id and m.provider_message_id <= k.event_id
            order by m.provider_message_id
            limit 1
        ) m on true
        order by k.rank, event_date desc nulls last, k.place
        limit p_limit
    ) h;
    if hits = '[]' then
        perform router.refuse_hidden_rows();
    end if;
end
$function$;
