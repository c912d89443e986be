-- router.scrubbed: metadata of a message without what its author said with it.
create or replace function router.scrubbed(p_metadata jsonb)
returns jsonb
language sql
immutable
as $function$
    select router.object_of(p_metadata)
           operator(pg_catalog.-) array['attachments', 'payload', 'referral', 'story', 'edited_at']::pg_catalog.text[]
$function$;
