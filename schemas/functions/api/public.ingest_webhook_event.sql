-- public.ingest_webhook_event: stores one event, see router.ingest_event.
create or replace function public.ingest_webhook_event(
    p_channel text, p_type text, p_event_id text, p_author_id text, p_author_name text, p_content text,
    p_event_date timestamptz, p_post_id text, p_conversation_id uuid, p_raw_payload jsonb
)
returns jsonb
language sql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $function$
    select router.ingest_event(p_channel, p_type, p_event_id, p_author_id, p_author_name, p_content, p_event_date, p_post_id,
                               p_conversation_id, p_raw_payload)
$function$;
