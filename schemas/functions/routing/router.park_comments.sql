-- router.park_comments: lets comments of our own wait for those that they answer, until five seconds after their arrival.
-- takes: events whose rows the caller has locked
-- returns: the ids of those that wait; the others a trigger of the application on webhook_events does not let wait
-- writes: webhook_events, router.waiting
create or replace function router.park_comments(p_events router.event[])
returns uuid[]
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
    v_waiting uuid[];
    v_path    text;
begin
    v_path := pg_catalog.set_config('search_path', router.application_path(), true);
    with parked as (
        update public.webhook_events w
        set parked_until = e.created_at operator(pg_catalog.+) interval '5 seconds'
        from pg_catalog.unnest(p_events) e
        where w.id operator(pg_catalog.=) any (array[e.id])
        returning w.id, w.parked_until
    )
    select pg_catalog.array_agg(p.id) into v_waiting from parked p where p.parked_until is not null;
    v_path := pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    insert into router.waiting (channel, atom_id, kind, target, account, effect, expires_at)
    select e.channel, e.event_id, 'comment', e.normalized ->> 'reply', e.normalized ->> 'account', '{}',
           e.created_at + interval '5 seconds'
    from unnest(p_events) e
    where e.id = any (v_waiting)
    order by e.channel collate "C", e.event_id collate "C"
    on conflict (channel, atom_id) do nothing;
    return coalesce(v_waiting, '{}');
exception
    when transaction_rollback or insufficient_resources or operator_intervention or system_error
         or lock_not_available or invalid_transaction_state then
        raise;
    when others or assert_failure then
        return '{}';
end
$function$;
