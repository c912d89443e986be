-- router.archive_line: an event as a line of an archive, see router.restore_events.
-- takes: the row
-- returns: all of its columns, those of the application as well, as JSON; what the line begins with says what it is
create or replace function router.archive_line(p_row public.webhook_events)
returns text
language sql
stable
as $function$
    select '{"webhook_router_archive": 1, '
           operator(pg_catalog.||) pg_catalog.substr(pg_catalog.to_jsonb(p_row)::pg_catalog.text, 2)
$function$;
