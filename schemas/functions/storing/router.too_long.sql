-- router.too_long: whether a field of an event is longer than schemas/events/webhook_event.v1.schema.json allows: ids that are
-- too long fit into no key, and the event could never be routed.
-- returns: the field and its limit in words; null if nothing is too long
create or replace function router.too_long(p_event router.incoming)
returns text
language sql
immutable
as $function$
    -- Counting bytes is cheap, and there are never fewer of them than characters.
    select case
        when pg_catalog.octet_length(p_event.channel) operator(pg_catalog.>) 64
             and pg_catalog.length(p_event.channel) operator(pg_catalog.>) 64
            then 'channel is longer than 64 characters'
        when pg_catalog.octet_length(p_event.event_id) operator(pg_catalog.>) 512
             and pg_catalog.length(p_event.event_id) operator(pg_catalog.>) 512
            then 'event_id is longer than 512 characters'
        when pg_catalog.octet_length(p_event.author_id) operator(pg_catalog.>) 512
             and pg_catalog.length(p_event.author_id) operator(pg_catalog.>) 512
            then 'author_id is longer than 512 characters'
        when pg_catalog.octet_length(p_event.author_name) operator(pg_catalog.>) 1024
             and pg_catalog.length(p_event.author_name) operator(pg_catalog.>) 1024
            then 'author_name is longer than 1024 characters'
        when pg_catalog.octet_length(p_event.content) operator(pg_catalog.>) 4194304
             and pg_catalog.length(p_event.content) operator(pg_catalog.>) 4194304
            then 'content is longer than 4194304 characters'
        when pg_catalog.octet_length(p_event.post_id) operator(pg_catalog.>) 512
             and pg_catalog.length(p_event.post_id) operator(pg_catalog.>) 512
            then 'post_id is longer than 512 characters'
    end
$function$;
