-- router.retry_watermarks: has messages that the application has inserted itself know of watermarks, and forgets those of
-- more than a month ago, but for the last one of each person.
-- takes: rows of router.watermarks
-- returns: how many messages have come further
-- writes: message_delivery, router.watermarks
create or replace function router.retry_watermarks(p_watermarks router.watermarks[])
returns integer
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_sort = off
set enable_incremental_sort = off
set jit = off
as $function$
declare
    v_changed integer;
begin
    if p_watermarks = '{}' then
        return 0;
    end if;
    begin
        v_changed := (router.apply_until(p_watermarks)).changed;
    exception
        when transaction_rollback or insufficient_resources or operator_intervention or system_error
             or lock_not_available or invalid_transaction_state then
            raise;
        when others or assert_failure then
            v_changed := 0;  -- the application refuses one of them
    end;
    delete from router.watermarks w
    where w.ctid = any (array(
        select w.ctid
        from unnest(p_watermarks) o
        cross join lateral (
            select l.until
            from router.watermarks l
            where l.channel = o.channel and l.account = o.account and l.person = o.person and l.status = o.status
              and l.until > o.until
            order by l.channel, l.account, l.person, l.status, l.until
            limit 1
        ) l
        cross join lateral (
            select w.ctid
            from router.watermarks w
            where w.channel = o.channel and w.account = o.account and w.person = o.person and w.status = o.status
              and w.until = o.until
            order by w.channel, w.account, w.person, w.status, w.until
            limit 1
        ) w
        where o.received_at < now() - interval '30 days'
    ));
    return v_changed;
end
$function$;
