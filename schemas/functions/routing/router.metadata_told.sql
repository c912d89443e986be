-- router.metadata_told: metadata of the message of an event with "normalized".
-- takes: the event's type, post and "normalized"; the message that it answers, null if that is not there
-- returns: as router.metadata_of, and what the normaliser says; reply: {ref, message_id} of what it answers; deleted_at, if its
--   author has deleted it
create or replace function router.metadata_told(p_type text, p_post_id text, p_normalized jsonb, p_reply uuid)
returns jsonb
language sql
stable
as $function$
    select router.metadata_of(p_type, p_post_id)
           operator(pg_catalog.||) coalesce(p_normalized operator(pg_catalog.->) 'metadata', '{}')
           operator(pg_catalog.||)
           case when p_normalized operator(pg_catalog.->>) 'reply' is null then '{}'
                else pg_catalog.jsonb_build_object('reply', pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
                         'ref', p_normalized operator(pg_catalog.->>) 'reply', 'message_id', p_reply))) end
           operator(pg_catalog.||)
           case when p_normalized operator(pg_catalog.->>) 'deleted_at' is null then '{}'
                else pg_catalog.jsonb_build_object('deleted_at', p_normalized operator(pg_catalog.->>) 'deleted_at') end
$function$;
