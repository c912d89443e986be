-- router.insert_messages: one inbound message for each event that has none.
-- takes: events and their targets
-- returns: the number of messages inserted; fewer than expected if a trigger of the application refuses some
-- raises: unique_violation if a message exists already that was not looked for
-- reads: webhook_events (content) by key
-- writes: messages; the application's triggers on messages fire here
-- locks: none that another batch could wait for: only the session that claimed an event writes the key of its message
create or replace function router.insert_messages(p_events router.event[], p_targets router.target[])
returns integer
language plpgsql
volatile
set search_path = pg_catalog, public, pg_temp  -- public: for the application's triggers
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set jit = off
as $function$
declare
    v_seed  constant bytea := router.seed();
    v_count integer;
begin
    -- No "on conflict": every message would pay for a speculative insertion that hardly any of them needs.
    insert into public.messages (id, conversation_id, contact_id, channel, direction, content_text, provider_message_id,
                                 sent_at, metadata)
    select router.key_of(v_seed, e.ordinality),
           e.conversation_id, e.contact_id, e.channel, 'inbound', w.content, e.event_id, e.sent_at,
           case when e.type = 'comment' then jsonb_strip_nulls(jsonb_build_object('type', e.type, 'post_id', e.post_id))
                else '{}' end
    from rows from (unnest(p_events), unnest(p_targets)) with ordinality e
    cross join lateral (select w.content from public.webhook_events w where w.id = e.id limit 1) w
    where not e.has_message;
    get diagnostics v_count = row_count;
    return v_count;
end
$function$;
