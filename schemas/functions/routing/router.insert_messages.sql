-- router.insert_messages: one message for each event that has none: an inbound one, unless "normalized" says otherwise.
-- takes: events and their targets; p_normalized: how many of the events have "normalized"; p_careful: one after the other, since
--   keys are taken by messages that were not found
-- returns: made: how many messages were inserted, fewer than expected if a trigger of the application refuses some;
--   message_id, for a single event: its message, as it was stored or found; targets: with the messages of events that have
--   "normalized", or null if there is none
-- raises: unique_violation if a message exists already that was not looked for; RW003 if messages exist under keys that a
--   trigger of the application has made of those of the events: start again with the ones in its detail
-- reads: webhook_events (content) by key
-- writes: messages, router.open_replies; the application's triggers on messages fire here
-- locks: none that another batch could wait for: only the session that claimed an event writes the key of its message
create or replace function router.insert_messages(
    p_events router.event[], p_targets router.target[], p_normalized bigint, p_careful boolean default false,
    out made integer, out message_id uuid, out targets router.target[]
)
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set jit = off
as $function$
declare
    v_seed  constant bytea := router.seed();
    v_found record;
    v_known jsonb := '[]';
    v_more  record;
    v_path  text;
begin
    if cardinality(p_events) > 1 and not p_careful then
        made := 0;
        if p_normalized < cardinality(p_events) then
            -- No "on conflict": every message would pay for a speculative insertion that hardly any of them needs.
            v_path := pg_catalog.set_config('search_path', router.application_path(), true);
            insert into public.messages (id, conversation_id, contact_id, channel, direction, content_text, provider_message_id,
                                         sent_at, metadata)
            select router.key_of(v_seed, e.ordinality),
                   e.conversation_id, e.contact_id, e.channel, 'inbound', w.content, e.event_id, e.sent_at,
                   router.metadata_of(e.type, e.post_id)
            from rows from (pg_catalog.unnest(p_events), pg_catalog.unnest(p_targets)) with ordinality e
            cross join lateral (
                select w.content from public.webhook_events w where w.id operator(pg_catalog.=) e.id limit 1
            ) w
            where not e.has_message and e.normalized is null;
            get diagnostics made = row_count;
        end if;
        if p_normalized operator(pg_catalog.>) 0 then
            v_path := pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
            v_more := router.insert_normalized(p_events, p_targets, v_seed);
            made := made + v_more.made;
            targets := v_more.targets;
        end if;
        return;
    end if;

    made := 0;
    if p_normalized > 0 then
        targets := p_targets;
    end if;
    for v_place in 1..cardinality(p_events) loop
        if p_targets[v_place].has_message then
            message_id := p_targets[v_place].message_id;
            continue;
        end if;
        if not p_careful then
            message_id := router.insert_message(p_events[v_place], p_targets[v_place], router.key_of(v_seed, v_place));
        else
            begin
                message_id := router.insert_message(p_events[v_place], p_targets[v_place], router.key_of(v_seed, v_place));
            exception
                when unique_violation then
                    v_found := router.find_message(p_events[v_place], p_targets[v_place]);
                    if v_found.message_id is null then
                        raise;
                    end if;
                    message_id := null;
                    v_known := v_known || jsonb_build_object('place', v_place, 'message_id', v_found.message_id,
                                                             'conversation_id', v_found.conversation_id);
            end;
        end if;
        made := made + (message_id is not null)::integer;
        if p_events[v_place].normalized is not null then
            targets[v_place].message_id := message_id;
        end if;
    end loop;
    if v_known <> '[]' then
        raise exception using errcode = 'RW003', message = 'messages are known under other keys', detail = v_known;
    end if;
end
$function$;
