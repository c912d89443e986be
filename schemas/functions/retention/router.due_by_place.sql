-- router.due_by_place: events that were routed at one moment, in the order in which they lie in the table.
-- takes: the moment; from where and up to where in the table, both exclusive; how many at most
-- returns: their ids and places
-- reads: that part of webhook_events, from one end to the other
create or replace function router.due_by_place(
    p_at timestamptz, p_after tid, p_before tid, p_limit integer, out ids uuid[], out tids tid[]
)
language plpgsql
stable
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_indexscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $function$
begin
    select coalesce(array_agg(w.id order by w.ctid), '{}'), coalesce(array_agg(w.ctid order by w.ctid), '{}')
    into ids, tids
    from (
        select w.id, w.ctid
        from public.webhook_events w
        where w.ctid > p_after and w.ctid < p_before and w.routed_at = p_at
        order by w.ctid
        limit p_limit
    ) w;
end
$function$;
