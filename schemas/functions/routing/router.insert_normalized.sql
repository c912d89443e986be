-- router.insert_normalized: the messages of the events of a batch that have "normalized".
-- takes: events and their targets; the seed of the batch's keys
-- returns: made: how many messages were inserted; targets: in the same order, with the messages
-- raises: unique_violation if a message exists already that was not looked for
-- reads: webhook_events (content) by key, see also router.find_reply
-- writes: messages, router.open_replies; the application's triggers on messages fire here
create or replace function router.insert_normalized(
    p_events router.event[], p_targets router.target[], p_seed bytea, out made integer, out targets router.target[]
)
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set jit = off
as $function$
declare
    v_keys    uuid[];
    v_replies uuid[];  -- messages that are answered
    v_open    boolean;
    v_made    uuid[];
    v_path    text;
begin
    select array_agg(case when e.normalized is not null and not e.has_message then router.key_of(p_seed, e.ordinality) end),
           array_agg(case when e.normalized ->> 'reply' is not null and not e.has_message
                          then router.find_reply(e.channel, e.conversation_id, e.normalized ->> 'reply',
                                                 e.normalized ->> 'reply_token') end),
           bool_or(e.normalized ->> 'reply' is not null)
    into v_keys, v_replies, v_open
    from rows from (unnest(p_events), unnest(p_targets)) with ordinality e;

    v_path := pg_catalog.set_config('search_path', router.application_path(), true);
    with done as (
        insert into public.messages as m (id, conversation_id, contact_id, channel, direction, message_type, content_text,
                                          media_url, provider_message_id, sent_at, metadata)
        select v_keys[e.ordinality], e.conversation_id, e.contact_id, e.channel,
               coalesce(e.normalized operator(pg_catalog.->>) 'direction', 'inbound'),
               coalesce(e.normalized operator(pg_catalog.->>) 'message_type', 'text'), w.content,
               e.normalized operator(pg_catalog.->>) 'media_url', e.event_id, e.sent_at,
               router.metadata_told(e.type, e.post_id, e.normalized, v_replies[e.ordinality])
        from rows from (pg_catalog.unnest(p_events), pg_catalog.unnest(p_targets)) with ordinality e
        cross join lateral (
            select w.content from public.webhook_events w where w.id operator(pg_catalog.=) e.id limit 1
        ) w
        where e.normalized is not null and not e.has_message
        returning m.id
    )
    select coalesce(pg_catalog.array_agg(d.id), '{}') into v_made from done d;
    v_path := pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    made := cardinality(v_made);

    -- A trigger of the application may have kept some of them out, or given them other keys.
    if v_made <> array_remove(v_keys, null) then
        v_keys := array(select case when k.key = any (v_made) then k.key end
                        from unnest(v_keys) with ordinality k (key, place)
                        order by k.place);
    end if;
    if v_open then
        insert into router.open_replies (message_id, channel, ref, token)
        select v_keys[e.ordinality], e.channel, e.normalized ->> 'reply', e.normalized ->> 'reply_token'
        from unnest(p_events) with ordinality e
        where e.normalized ->> 'reply' is not null
          and v_keys[e.ordinality] is not null and v_replies[e.ordinality] is null
        on conflict (message_id) do nothing;
    end if;
    targets := p_targets;
    for v_place in 1..cardinality(p_events) loop
        if v_keys[v_place] is not null then
            targets[v_place].message_id := v_keys[v_place];
        end if;
    end loop;
end
$function$;
