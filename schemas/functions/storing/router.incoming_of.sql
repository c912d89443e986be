-- router.incoming_of: an event as JSON lines have it.
-- takes: an object whose fields are named as the columns of webhook_events; others are ignored. p_normalized: what a normaliser
--   knows of it beyond these; only they say it, so that no line of an application is taken for one of theirs
-- returns: the event. The only place that lists the columns of router.incoming in order
create or replace function router.incoming_of(p_line jsonb, p_normalized jsonb default null)
returns router.incoming
language sql
stable
as $function$
    select row(p_line operator(pg_catalog.->>) 'channel', p_line operator(pg_catalog.->>) 'type',
               p_line operator(pg_catalog.->>) 'event_id', p_line operator(pg_catalog.->>) 'author_id',
               p_line operator(pg_catalog.->>) 'author_name', p_line operator(pg_catalog.->>) 'content',
               (p_line operator(pg_catalog.->>) 'event_date')::timestamp with time zone,
               p_line operator(pg_catalog.->>) 'post_id',
               (p_line operator(pg_catalog.->>) 'conversation_id')::pg_catalog.uuid,
               case when p_line operator(pg_catalog.->) 'raw_payload' operator(pg_catalog.<>) 'null'
                    then p_line operator(pg_catalog.->) 'raw_payload' end,
               p_normalized)::router.incoming
$function$;
