-- router.route_further: router.route_claimed for a further batch of the same transaction, which holds locks of the batches
-- before: waiting for others could be a deadlock with them. It gives up quickly instead, and leaves these events for later. So
-- it does when statement_timeout strikes, which no forecast from quick events can rule out: the batches before still commit.
-- returns: as router.route_claimed; null if it has given up
create or replace function router.route_further(p_events router.event[], p_limit integer, p_constraints text)
returns router.batch
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set lock_timeout = '10ms'
as $function$
begin
    return router.route_claimed(p_events, p_limit, p_constraints);
exception
    when lock_not_available or deadlock_detected then
        return null;
    when query_canceled then
        -- The server's clock for it starts a little earlier, with the parsing.
        if clock_timestamp() < statement_timestamp() + 0.95 * current_setting('statement_timeout')::interval then
            raise;  -- somebody has cancelled it
        end if;
        return null;
end
$function$;
