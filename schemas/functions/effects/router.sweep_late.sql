-- router.sweep_late: mends what two transactions have done at the same moment without seeing each other, and forgets what has
-- served its purpose. To be called every few seconds.
-- takes: how many rows of each table
-- writes: see router.scrub_late and router.retry_referrals; router.silent_edits older than a month; router.deleted_messages older
--   than a year
create or replace function router.sweep_late(p_limit integer)
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
begin
    perform router.scrub_late(now() - interval '10 minutes');
    perform router.retry_referrals(p_limit);
    with old as materialized (
        select s.message_id, s.ord
        from router.silent_edits s
        where s.received_at < now() - interval '30 days'
        order by s.received_at
        limit p_limit
    )
    delete from router.silent_edits s
    using old o
    where s.message_id = o.message_id and s.ord = any (array[o.ord]);
    with old as materialized (
        select d.subject
        from router.deleted_messages d
        where d.deleted_at < now() - interval '1 year'
        order by d.deleted_at
        limit p_limit
    )
    delete from router.deleted_messages d
    using old o
    where d.subject = any (array[o.subject]);
end
$function$;
