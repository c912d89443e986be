-- router.renew_messages: adds what redeliveries tell more of messages, that is, what is new in "normalized" of their events.
-- takes: the ids of events; what "normalized" was before, null where there was none
-- reads: webhook_events and messages by key
-- writes: messages, only what is new; router.open_replies
create or replace function router.renew_messages(p_ids uuid[], p_known jsonb[])
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
    v_event router.event;
    v_known jsonb;
    v_new   jsonb;  -- metadata that nobody has told before
    v_reply uuid;
    v_path  text;
begin
    for v_place in 1..cardinality(p_ids) loop
        v_known := coalesce(p_known[v_place], '{}');
        v_event := (
            select router.as_event(w) from public.webhook_events w where w.id = p_ids[v_place] and w.routed_at is not null
        );
        continue when v_event.normalized is null or v_event.normalized = v_known;
        if v_event.normalized ? 'reply' and not v_known ? 'reply' then
            v_reply := router.find_reply(v_event.channel, v_event.given_conversation_id, v_event.normalized ->> 'reply',
                                         v_event.normalized ->> 'reply_token');
        else
            v_event.normalized := v_event.normalized - 'reply';
            v_reply := null;
        end if;
        v_new := router.metadata_told('message', null, v_event.normalized, v_reply);
        v_new := v_new - array(select jsonb_object_keys(coalesce(v_known -> 'metadata', '{}')));
        if v_new = '{}' and (v_known ? 'media_url' or not v_event.normalized ? 'media_url') then
            continue;
        end if;
        v_path := pg_catalog.set_config('search_path', router.application_path(), true);
        update public.messages m
        set metadata = v_new operator(pg_catalog.||) coalesce(m.metadata, '{}'),
            media_url = coalesce(m.media_url, v_event.normalized operator(pg_catalog.->>) 'media_url')
        where m.channel operator(pg_catalog.=) v_event.channel
          and m.provider_message_id operator(pg_catalog.>=) v_event.event_id
          and m.provider_message_id operator(pg_catalog.<=) v_event.event_id
          and not coalesce(m.metadata, '{}') operator(pg_catalog.?) 'deleted_at';
        v_path := pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
        if v_event.normalized ? 'reply' and v_reply is null then
            insert into router.open_replies (message_id, channel, ref, token)
            select m.id, m.channel, v_event.normalized ->> 'reply', v_event.normalized ->> 'reply_token'
            from public.messages m
            where m.channel = v_event.channel
              and m.provider_message_id >= v_event.event_id and m.provider_message_id <= v_event.event_id
            order by m.provider_message_id
            limit 1
            on conflict (message_id) do nothing;
        end if;
    end loop;
end
$function$;
