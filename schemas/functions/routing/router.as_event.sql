-- router.as_event: a row of webhook_events as the routing functions pass it on.
-- takes: the row; p_path: by which path it is about to be routed, see router.mark_routed; null: it is not
-- returns: the event; blank ids and names become null. The only place that lists the columns of router.event in order
create or replace function router.as_event(p_row public.webhook_events, p_path text default null)
returns router.event
language sql
stable
as $function$
    select row(p_row.id, p_row.channel, p_row.type, p_row.event_id,
               case when pg_catalog.btrim(p_row.author_id) operator(pg_catalog.<>) '' then pg_catalog.btrim(p_row.author_id) end,
               case when pg_catalog.btrim(p_row.author_name) operator(pg_catalog.<>) '' then p_row.author_name end,
               case when pg_catalog.btrim(p_row.post_id) operator(pg_catalog.<>) '' then pg_catalog.btrim(p_row.post_id) end,
               coalesce(p_row.event_date,
                        case when pg_catalog.isfinite(p_row.created_at) then p_row.created_at end, pg_catalog.now()),
               coalesce(least(p_row.event_date, case when pg_catalog.isfinite(p_row.created_at) then p_row.created_at end),
                        pg_catalog.now()),
               p_row.created_at, p_row.conversation_id, p_row.normalized, p_path)::router.event
$function$;
