-- router.is_schema_fault: whether an error is the fault of the schema, of rights, or of something that a trigger of the
-- application depends on, and not of the event that met it: a column or function is missing, a table is published without a
-- replica identity, a column that routing does not fill is mandatory. Parking the event would only hide it.
create or replace function router.is_schema_fault(p_error router.fault)
returns boolean
language sql
immutable
set search_path = pg_catalog, pg_temp
as $function$
    select case
        when p_error.code = '55P03' then false  -- a lock is not available: it will be
        when left(p_error.code, 2) in ('08', '3D', '3F', '42', '55', 'F0', 'HV', 'XX') or p_error.code = '0A000' then true
        when p_error.code <> '23502' or p_error.schema_name <> 'public' then false
        else case p_error.table_name  -- columns that routing and storing fill from the event
            when 'contacts' then p_error.column_name not in ('id', 'full_name')
            when 'contact_channels' then
                p_error.column_name not in ('contact_id', 'channel', 'external_id', 'display_name', 'display_name_at',
                                            'is_primary', 'metadata')
            when 'conversations' then
                p_error.column_name not in ('id', 'contact_id', 'channel', 'channel_conversation_id', 'status', 'last_message_at',
                                            'account_id', 'metadata')
            when 'messages' then
                p_error.column_name not in ('id', 'conversation_id', 'contact_id', 'channel', 'direction', 'content_text',
                                            'provider_message_id', 'sent_at', 'metadata', 'message_type', 'media_url')
            when 'message_analysis' then
                p_error.column_name not in ('message_id', 'intent', 'sentiment', 'confidence', 'needs_escalation')
            when 'webhook_events' then
                p_error.column_name not in ('channel', 'type', 'event_id', 'author_id', 'author_name', 'content', 'event_date',
                                            'post_id', 'conversation_id', 'raw_payload', 'routed_at', 'parked_until',
                                            'normalized')
            else false
        end
    end
$function$;
