-- The public functions as they are found in the wild, with the behaviour that CONTRACT describes and one statement after the
-- other for each event. Upgrades replace them; the benchmark measures against them. Run it as the owner of the tables.

create or replace function public.ingest_webhook_event(
    p_channel text, p_type text, p_event_id text, p_author_id text, p_author_name text, p_content text,
    p_event_date timestamptz, p_post_id text, p_conversation_id uuid, p_raw_payload jsonb
) returns jsonb
language plpgsql
security definer
set search_path = public
as $$
declare
    v_row webhook_events;
begin
    insert into webhook_events (channel, type, event_id, author_id, author_name, content, event_date, post_id,
                                conversation_id, raw_payload)
    values (lower(p_channel), case when p_type = 'comment' then 'comment' else 'message' end, p_event_id, p_author_id,
            p_author_name, p_content, coalesce(p_event_date, now()), p_post_id, p_conversation_id,
            coalesce(p_raw_payload, '{}'::jsonb))
    on conflict (channel, event_id) do update
    set author_id = excluded.author_id, author_name = excluded.author_name, content = excluded.content,
        event_date = excluded.event_date, post_id = excluded.post_id, raw_payload = excluded.raw_payload
    returning * into v_row;
    return to_jsonb(v_row);
end
$$;

create or replace function public.route_webhook_event(p_channel text, p_event_id text)
returns jsonb
language plpgsql
security definer
set search_path = public
as $$
declare
    v_event        webhook_events;
    v_contact      uuid;
    v_conversation uuid;
    v_message      uuid;
begin
    select * into v_event from webhook_events where channel = lower(p_channel) and event_id = p_event_id;
    if not found then
        raise exception 'event not found';
    end if;

    if v_event.author_id is not null then
        select contact_id into v_contact
        from contact_channels
        where channel = v_event.channel and external_id = v_event.author_id;
        if v_contact is null then
            insert into contacts (full_name) values (v_event.author_name) returning id into v_contact;
            insert into contact_channels (contact_id, channel, external_id, display_name, is_primary)
            values (v_contact, v_event.channel, v_event.author_id, v_event.author_name, true);
        end if;
    end if;

    v_conversation := v_event.conversation_id;
    if v_conversation is null then
        select id into v_conversation
        from conversations
        where contact_id = v_contact and channel = v_event.channel and status = 'open'
        order by created_at desc
        limit 1;
    end if;
    if v_conversation is null then
        insert into conversations (contact_id, channel, status, last_message_at)
        values (v_contact, v_event.channel, 'open', v_event.event_date)
        returning id into v_conversation;
    end if;

    select id into v_message
    from messages
    where channel = v_event.channel and provider_message_id = v_event.event_id;
    if v_message is null then
        insert into messages (conversation_id, contact_id, channel, direction, message_type, content_text,
                              provider_message_id, sent_at)
        values (v_conversation, v_contact, v_event.channel, 'inbound', 'text', v_event.content, v_event.event_id,
                coalesce(v_event.event_date, now()))
        returning id into v_message;
    end if;

    update conversations
    set last_message_at = greatest(last_message_at, v_event.event_date), updated_at = now()
    where id = v_conversation;
    update webhook_events set conversation_id = v_conversation, routed_at = now() where id = v_event.id;
    return jsonb_build_object('conversation_id', v_conversation, 'message_id', v_message);
end
$$;

create or replace function public.route_unrouted_events(p_channel text default null, p_limit integer default 100)
returns integer
language plpgsql
security definer
set search_path = public
as $$
declare
    v_event record;
    v_count integer := 0;
begin
    for v_event in
        select channel, event_id
        from webhook_events
        where routed_at is null and (p_channel is null or channel = lower(p_channel))
        order by event_date asc nulls last
        limit greatest(1, least(coalesce(p_limit, 100), 10000))
    loop
        perform route_webhook_event(v_event.channel, v_event.event_id);
        v_count := v_count + 1;
    end loop;
    return v_count;
end
$$;

create or replace function public.analyze_message_simple(p_message_id uuid)
returns jsonb
language plpgsql
security definer
set search_path = public
as $$
declare
    v_message  messages;
    v_intent   text;
    v_escalate boolean;
begin
    select * into v_message from messages where id = p_message_id;
    if not found then
        raise exception 'message not found';
    end if;
    v_intent := case when coalesce(v_message.content_text, '') = '' then 'other'
                     when v_message.content_text like '%?%' then 'question'
                     else 'statement' end;
    v_escalate := coalesce(v_message.content_text, '') ~* '(urgent|help|assistance|support|problem|issue)';
    insert into message_analysis (message_id, intent, sentiment, confidence, needs_escalation)
    values (p_message_id, v_intent, 'neutral', 0.5, v_escalate)
    on conflict (message_id) do update
    set intent = excluded.intent, sentiment = excluded.sentiment, confidence = excluded.confidence,
        needs_escalation = excluded.needs_escalation, updated_at = now();
    if v_escalate then
        update conversations
        set metadata = coalesce(metadata, '{}'::jsonb) || jsonb_build_object('needs_escalation', true), updated_at = now()
        where id = v_message.conversation_id;
    end if;
    return jsonb_build_object('message_id', p_message_id, 'intent', v_intent, 'sentiment', 'neutral', 'confidence', 0.5,
                              'needs_escalation', v_escalate);
end
$$;

create or replace function public.ingest_route_analyze(
    p_channel text, p_type text, p_event_id text, p_author_id text, p_author_name text, p_content text,
    p_event_date timestamptz, p_raw_payload jsonb
) returns jsonb
language plpgsql
security definer
set search_path = public
as $$
declare
    v_routed jsonb;
begin
    perform ingest_webhook_event(p_channel, p_type, p_event_id, p_author_id, p_author_name, p_content, p_event_date, null,
                                 null, p_raw_payload);
    v_routed := route_webhook_event(p_channel, p_event_id);
    perform analyze_message_simple((v_routed ->> 'message_id')::uuid);
    return v_routed;
end
$$;

create or replace function public.ingest_instagram_webhook(p_body jsonb)
returns integer
language plpgsql
security definer
set search_path = public
as $$
declare
    v_entry   jsonb;
    v_change  jsonb;
    v_message jsonb;
    v_count   integer := 0;
begin
    if coalesce(p_body ->> 'object', '') not like 'instagram%' then
        return 0;
    end if;
    for v_entry in select * from jsonb_array_elements(coalesce(p_body -> 'entry', '[]'::jsonb)) loop
        for v_change in select * from jsonb_array_elements(coalesce(v_entry -> 'changes', '[]'::jsonb)) loop
            for v_message in select * from jsonb_array_elements(coalesce(v_change #> '{value,messages}', '[]'::jsonb)) loop
                perform ingest_webhook_event(
                    'instagram', 'message', v_message ->> 'id', v_message #>> '{from,id}', v_message #>> '{from,username}',
                    v_message #>> '{text,body}', to_timestamp((v_message ->> 'timestamp')::bigint), null, null, v_message);
                v_count := v_count + 1;
            end loop;
        end loop;
        for v_message in select * from jsonb_array_elements(coalesce(v_entry -> 'messaging', '[]'::jsonb)) loop
            perform ingest_webhook_event(
                'instagram', 'message', v_message #>> '{message,mid}', v_message #>> '{sender,id}', null,
                v_message #>> '{message,text}', to_timestamp((v_message ->> 'timestamp')::bigint / 1000.0), null, null,
                v_message);
            v_count := v_count + 1;
        end loop;
    end loop;
    return v_count;
end
$$;

create or replace function public.ai_reply_template(p_message_id uuid)
returns text
language plpgsql
security definer
set search_path = public
as $$
declare
    v_analysis message_analysis;
begin
    select * into v_analysis from message_analysis where message_id = p_message_id;
    return 'Bonjour ! '
        || case when v_analysis.intent = 'question' then 'Merci pour votre question. ' else 'Merci pour votre message. ' end
        || case when v_analysis.needs_escalation then 'Un conseiller va vous répondre. ' else '' end
        || 'À bientôt !';
end
$$;

create or replace function public.auto_reply_stub(p_message_id uuid)
returns uuid
language plpgsql
security definer
set search_path = public
as $$
declare
    v_message messages;
    v_id      uuid;
begin
    select * into v_message from messages where id = p_message_id;
    insert into messages (conversation_id, contact_id, channel, direction, message_type, content_text)
    values (v_message.conversation_id, v_message.contact_id, v_message.channel, 'outbound', 'text',
            ai_reply_template(p_message_id))
    returning id into v_id;
    return v_id;
end
$$;

do $$
declare
    v_function regprocedure;
    v_role     name;
begin
    for v_function in
        select p.oid::regprocedure
        from pg_proc p
        where p.pronamespace = 'public'::regnamespace
          and p.proname in ('ingest_webhook_event', 'route_webhook_event', 'route_unrouted_events', 'analyze_message_simple',
                            'ingest_route_analyze', 'ingest_instagram_webhook', 'ai_reply_template', 'auto_reply_stub')
    loop
        execute format('revoke all on function %s from public', v_function);
        for v_role in select rolname from pg_roles where rolname in ('anon', 'authenticated') loop
            execute format('grant execute on function %s to %I', v_function, v_role);
        end loop;
    end loop;
end
$$;
