-- router.retry_referrals: places referrals of the last hour again: a message may have been made while one came, and neither
-- transaction has seen the other one. After a month they stay where they are, and are forgotten.
-- takes: how many
-- writes: see router.give_referrals; router.referrals
create or replace function router.retry_referrals(p_limit integer)
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
    v_recent router.referrals[];
begin
    v_recent := array(
        select r from router.referrals r where r.received_at > now() - interval '1 hour' order by r.received_at desc limit p_limit
    );
    if v_recent <> '{}' then
        begin
            perform router.place_referrals(v_recent, null);
        exception
            when transaction_rollback or insufficient_resources or operator_intervention or system_error
                 or lock_not_available or invalid_transaction_state then
                raise;
            when others or assert_failure then
                null;  -- the application refuses one of them
        end;
    end if;
    with old as materialized (
        select r.channel, r.account, r.person, r.at, r.ord
        from router.referrals r
        where r.received_at < now() - interval '30 days'
        order by r.received_at
        limit p_limit
    )
    delete from router.referrals r
    using old o
    where r.channel = o.channel and r.account = o.account and r.person = o.person and r.at = o.at and r.ord = any (array[o.ord]);
end
$function$;
