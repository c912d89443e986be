-- router.incoming_of: an event as JSON lines have it.
-- takes: an object whose fields are named as the columns of webhook_events; others are ignored
-- returns: the event. The only place that lists the columns of router.incoming in order
create or replace function router.incoming_of(p_line jsonb)
returns router.incoming
language sql
stable
as $function$
    select row(p_line ->> 'channel', p_line ->> 'type', p_line ->> 'event_id', p_line ->> 'author_id',
               p_line ->> 'author_name', p_line ->> 'content', (p_line ->> 'event_date')::timestamptz, p_line ->> 'post_id',
               (p_line ->> 'conversation_id')::uuid, nullif(p_line -> 'raw_payload', 'null'))::router.incoming
$function$;
