-- router.postpone: lets held events that had been parked, and were due, wait for ten seconds more: nothing comes before them
-- in the order of what is due, and they would keep all others from their turn. No attempt is counted.
-- takes: ids of held events, their rows locked by the caller; those that were never parked stay as they are
-- writes: webhook_events, router.parked_events; nothing where the schema does not even allow that
create or replace function router.postpone(p_ids uuid[])
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $function$
declare
    v_until constant timestamptz := clock_timestamp() + interval '10 seconds';
    v_path  text;
begin
    update router.parked_events p
    set next_attempt_at = v_until
    from unnest(p_ids) as h (id), public.webhook_events w
    where p.event_id = any (array[h.id]) and w.id = any (array[h.id]) and w.parked_until is not null;
    v_path := pg_catalog.set_config('search_path', router.application_path(), true);
    update public.webhook_events w
    set parked_until = v_until
    from pg_catalog.unnest(p_ids) as h (id)
    where w.id operator(pg_catalog.=) any (array[h.id]) and w.parked_until is not null;
exception
    when transaction_rollback or insufficient_resources or operator_intervention or system_error
         or lock_not_available or invalid_transaction_state then
        raise;
    when others or assert_failure then
        null;
end
$function$;
