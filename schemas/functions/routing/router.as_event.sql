-- router.as_event: a row of webhook_events as the routing functions pass it on.
-- takes: the row
-- returns: the event; blank ids and names become null. The only place that lists the columns of router.event in order
create or replace function router.as_event(p_row public.webhook_events)
returns router.event
language sql
stable
as $function$
    select row(p_row.id, p_row.channel, p_row.type, p_row.event_id, nullif(btrim(p_row.author_id), ''),
               case when btrim(p_row.author_name) <> '' then p_row.author_name end, nullif(btrim(p_row.post_id), ''),
               coalesce(p_row.event_date, case when isfinite(p_row.created_at) then p_row.created_at end, now()),
               coalesce(least(p_row.event_date, case when isfinite(p_row.created_at) then p_row.created_at end), now()),
               p_row.created_at, p_row.conversation_id)::router.event
$function$;
