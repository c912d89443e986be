-- router.metadata_of: metadata of the message of an event.
-- returns: for a comment its type and post, {} otherwise
create or replace function router.metadata_of(p_type text, p_post_id text)
returns jsonb
language sql
stable
as $function$
    select case when p_type operator(pg_catalog.=) 'comment'
                then pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object('type', p_type, 'post_id', p_post_id))
                else '{}' end
$function$;
