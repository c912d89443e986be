-- router.object_of: metadata that keys can be added to.
-- returns: it, if it is an object; {} where there is none, or a JSON value of another kind, such as the empty array that some
--   languages make of an empty object
create or replace function router.object_of(p_metadata jsonb)
returns jsonb
language sql
immutable
as $function$
    select case when pg_catalog.jsonb_typeof(p_metadata) operator(pg_catalog.=) 'object' then p_metadata else '{}' end
$function$;
