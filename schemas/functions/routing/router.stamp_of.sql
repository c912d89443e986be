-- router.stamp_of: a time as text that sorts as the time does: ISO 8601 in UTC, with microseconds.
create or replace function router.stamp_of(p_at timestamptz)
returns text
language sql
stable
as $function$
    select pg_catalog.to_char(pg_catalog.timezone('UTC', p_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
$function$;
