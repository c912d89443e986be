-- router.ingest_route_analyze: router.ingest_event, router.route_event and router.analyze_message in one transaction.
-- returns: {conversation_id, message_id}; both are null if a trigger of the application keeps the event out
create or replace function router.ingest_route_analyze(
    p_channel text, p_type text, p_event_id text, p_author_id text, p_author_name text, p_content text,
    p_event_date timestamptz, p_raw_payload jsonb
) returns jsonb
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $function$
declare
    v_row    jsonb;
    v_routed jsonb;
begin
    v_row := router.ingest_event(p_channel, p_type, p_event_id, p_author_id, p_author_name, p_content, p_event_date, null,
                                 null, p_raw_payload);
    if v_row is null then
        return jsonb_build_object('conversation_id', null, 'message_id', null);
    end if;
    -- Its key may be another one now: a trigger of the application may write ids in another form.
    v_routed := router.route_event(v_row ->> 'channel', v_row ->> 'event_id');
    if v_routed ->> 'message_id' is not null then
        perform router.analyze_message((v_routed ->> 'message_id')::uuid);
    end if;
    return v_routed;
end
$function$;
