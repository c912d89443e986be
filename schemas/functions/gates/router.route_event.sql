-- router.route_event: routes one event now, by the path 'call'. Called again it returns the same ids and adds nothing.
-- returns: {conversation_id, message_id}
-- raises: "event not found"; any error of routing, without parking the event, see also router.raise_without_values
-- reads: events and messages by key
-- locks: the event; waits for a batch that has claimed it
create or replace function router.route_event(p_channel text, p_event_id text)
returns jsonb
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set enable_incremental_sort = off
set jit = off
as $function$
declare
    v_row          public.webhook_events;
    v_conversation uuid;
    v_message      uuid;
    v_target       router.target;
    v_error        router.fault;
    -- Compared by the collation of the column beside them: the columns of two tables may have different ones.
    v_channel      text;
    v_event_id     text;
begin
    select w.* into v_row
    from public.webhook_events w
    where w.channel = router.channel_of(p_channel) and w.event_id >= p_event_id and w.event_id <= p_event_id
    order by w.event_id
    limit 1
    for no key update;
    if not found then
        raise exception 'event not found'
            using hint = 'No row of webhook_events has this channel and event_id; ingest the event first.';
    end if;
    if v_row.routed_at is null then
        begin
            v_message := (router.route(array[router.as_event(v_row, 'call')])).message_id;
        exception
            when data_exception or integrity_constraint_violation then
                get stacked diagnostics
                    v_error.code = returned_sqlstate, v_error.message = message_text, v_error.schema_name = schema_name,
                    v_error.table_name = table_name, v_error.column_name = column_name,
                    v_error.constraint_name = constraint_name;
                perform router.raise_without_values(v_error);
        end;
    end if;
    select w.conversation_id into v_conversation
    from public.webhook_events w
    where w.id = v_row.id;
    if v_message is null then
        v_channel := v_row.channel;
        v_event_id := v_row.event_id;
        select m.id into v_message
        from public.messages m
        where m.channel = v_channel and m.provider_message_id >= v_event_id and m.provider_message_id <= v_event_id
        order by m.provider_message_id
        limit 1;
    end if;
    if v_message is null and v_row.routed_at is not null and v_conversation is not null then
        v_target.conversation_id := v_conversation;
        v_target.contact_id := (select v.contact_id from public.conversations v where v.id = v_conversation);
        v_message := (router.find_message(router.as_event(v_row), v_target)).message_id;
    end if;
    if v_conversation is null then  -- a trigger of the application has removed the event, or its conversation from it
        v_conversation := (select m.conversation_id from public.messages m where m.id = v_message);
    end if;
    return jsonb_build_object('conversation_id', v_conversation, 'message_id', v_message);
end
$function$;
