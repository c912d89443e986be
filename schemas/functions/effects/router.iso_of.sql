-- router.iso_of: a time as metadata has it: ISO 8601 in UTC, whatever the time zone of the session; router.time_of reads it.
create or replace function router.iso_of(p_time timestamptz)
returns text
language sql
stable
as $function$
    select pg_catalog.to_char(
               pg_catalog.timezone('UTC', p_time),
               case when pg_catalog.date_trunc('second', p_time, 'UTC') operator(pg_catalog.=) p_time
                    then 'YYYY-MM-DD"T"HH24:MI:SS"Z"' else 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"' end)
$function$;
