-- router.half_time: when half of the time is used that the session's timeouts leave to the statement.
-- returns: null if there is no timeout
create or replace function router.half_time()
returns timestamptz
language sql
stable
set search_path = pg_catalog, pg_temp
as $function$
    select statement_timestamp() + min(t.seconds) / 2 * interval '1 second'
    from (
        values (nullif(extract(epoch from current_setting('statement_timeout')::interval), 0)),
               (nullif(extract(epoch from current_setting('transaction_timeout', true)::interval), 0)  -- Postgres 17 and newer
                - extract(epoch from statement_timestamp() - transaction_timestamp()))
    ) as t (seconds)
$function$;
