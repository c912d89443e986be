-- router.ingest_event: stores one event, see router.ingest_events.
-- returns: the row as it was stored, without the router's own columns; null if a trigger of the application keeps it out. Of an
--   event that was known already: its id, key, arrival and routed_at, and for the rest what this caller has given: callers may
--   know an event_id without having a right to what others have said of the event
-- raises: see router.ingest_events and router.raise_without_values
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
set enable_bitmapscan = off
set enable_sort = off
set enable_incremental_sort = off
set jit = off
as $function$
declare
    v_channel constant text := router.channel_of(p_channel);
    v_event   constant router.incoming := row(p_channel, p_type, p_event_id, p_author_id, p_author_name, p_content,
                                              p_event_date, p_post_id, p_conversation_id, p_raw_payload, null);
    v_is_new  boolean;
    v_id      uuid;
    v_row     public.webhook_events;
    v_answer  jsonb;
    v_error   router.fault;
begin
    begin
        v_is_new := router.ingest_events(array[v_event]) = 1;
    exception
        when data_exception or integrity_constraint_violation then
            get stacked diagnostics
                v_error.code = returned_sqlstate, v_error.message = message_text, v_error.schema_name = schema_name,
                v_error.table_name = table_name, v_error.column_name = column_name,
                v_error.constraint_name = constraint_name;
            perform router.raise_without_values(v_error);
    end;
    select w.* into v_row
    from public.webhook_events w
    where w.channel = v_channel and w.event_id >= p_event_id and w.event_id <= p_event_id
    order by w.event_id
    limit 1;
    if not found then
        v_id := router.find_event(v_event);
        if v_id is null then
            return null;
        end if;
        select w.* into v_row
        from public.webhook_events w
        where w.id = v_id;
    end if;
    v_answer := to_jsonb(v_row) - array['parked_until', 'normalized', 'routed_by'];
    if v_is_new then
        return v_answer;
    end if;
    return (select jsonb_object_agg(k.column_name, null) from jsonb_object_keys(v_answer) k (column_name))
           || jsonb_build_object(
               'id', v_row.id, 'channel', v_row.channel, 'event_id', v_row.event_id, 'created_at', v_row.created_at,
               'routed_at', v_row.routed_at,
               'type', case when lower(btrim(p_type) collate "C") = 'comment' then 'comment' else 'message' end,
               'author_id', p_author_id, 'author_name', p_author_name, 'content', p_content, 'event_date', p_event_date,
               'post_id', p_post_id, 'conversation_id', p_conversation_id, 'raw_payload', coalesce(p_raw_payload, '{}'));
end
$function$;
