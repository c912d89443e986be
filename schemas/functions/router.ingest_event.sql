-- router.ingest_event: stores one event. A redelivery adds what it knows more and never takes anything back.
-- takes: the columns of webhook_events; channel in any case; type 'comment', or else 'message'; p_event_date null for now
-- returns: the row, without what is the router's own
-- writes: webhook_events; a redelivery that changes nothing writes nothing, one that does ends a wait for another attempt
create or replace function router.ingest_event(
    p_channel text, p_type text, p_event_id text, p_author_id text, p_author_name text, p_content text,
    p_event_date timestamptz, p_post_id text, p_conversation_id uuid, p_raw_payload jsonb
) returns jsonb
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set jit = off
as $function$
declare
    v_channel text := lower(btrim(p_channel));
    v_row     public.webhook_events;
begin
    insert into public.webhook_events as w (channel, type, event_id, author_id, author_name, content, event_date, post_id,
                                            conversation_id, raw_payload)
    values (v_channel, case when lower(btrim(p_type)) = 'comment' then 'comment' else 'message' end, p_event_id, p_author_id,
            p_author_name, p_content, coalesce(p_event_date, now()), p_post_id, p_conversation_id,
            coalesce(p_raw_payload, '{}'))
    on conflict (channel, event_id) do update
    set type = excluded.type,
        author_id = coalesce(excluded.author_id, w.author_id),
        author_name = coalesce(excluded.author_name, w.author_name),
        content = coalesce(excluded.content, w.content),
        event_date = coalesce(p_event_date, w.event_date),
        post_id = coalesce(excluded.post_id, w.post_id),
        conversation_id = coalesce(w.conversation_id, excluded.conversation_id),
        raw_payload = coalesce(p_raw_payload, w.raw_payload),
        parked_until = case when w.parked_until = 'infinity' then w.parked_until end
    where (w.type, w.author_id, w.author_name, w.content, w.event_date, w.post_id, w.conversation_id, w.raw_payload)
          is distinct from
          (excluded.type, coalesce(excluded.author_id, w.author_id), coalesce(excluded.author_name, w.author_name),
           coalesce(excluded.content, w.content), coalesce(p_event_date, w.event_date),
           coalesce(excluded.post_id, w.post_id), coalesce(w.conversation_id, excluded.conversation_id),
           coalesce(p_raw_payload, w.raw_payload))
    returning w.* into v_row;
    if not found then
        select w.* into v_row from public.webhook_events w where w.channel = v_channel and w.event_id = p_event_id;
    end if;
    return to_jsonb(v_row) - 'parked_until';
end
$function$;
