-- router.routed_within: how many events were routed a moment ago, for whoever watches.
-- takes: p_seconds: within so many; p_limit: how many are counted at most
-- returns: their number; null if no index begins with routed_at, as the table would have to be read
-- reads: public.webhook_events through an index on routed_at, pg_index
create or replace function router.routed_within(p_seconds double precision, p_limit integer default 100000)
returns bigint
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set enable_incremental_sort = off
set jit = off
as $function$
declare
    v_from  constant timestamptz := now() - make_interval(secs => least(p_seconds, 3600));
    v_count bigint;
begin
    -- As router.status does.
    if not exists (select
                   from pg_index i
                   join pg_class c on c.oid = i.indexrelid
                   join pg_am m on m.oid = c.relam
                   join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
                   where i.indrelid = 'public.webhook_events'::regclass and i.indisvalid and m.amname = 'btree'
                     and a.attname = 'routed_at'
                     and (i.indpred is null or pg_get_expr(i.indpred, i.indrelid) = '(routed_at IS NOT NULL)')) then
        return null;
    end if;
    select count(*) into v_count
    from (
        select w.routed_at
        from public.webhook_events w
        where w.routed_at > v_from
        order by w.routed_at desc
        limit p_limit
    ) r;
    return v_count;
end
$function$;
