-- router.first_link: media_url of a message with these attachments.
-- takes: attachments as messages.metadata has them; anything else has no link
create or replace function router.first_link(p_attachments jsonb)
returns text
language sql
immutable
as $function$
    select pg_catalog.jsonb_path_query_first(p_attachments, '$[*].link ? (@ != "")') operator(pg_catalog.#>>) '{}'
$function$;
