-- webhook_router_history: one step of marking events as routed that arrived before router.history.before, in one transaction
-- with the note of how far it has come. It belongs to the owner of the tables and to this session: triggers of the application
-- run with the owner's rights, whoever migrates. What runs under the application's path has all names qualified.
-- takes: p_step: 'count', 'mark' or 'reset'; the blocks of the table, from and up to, without the last; null: all of them
-- returns: count: events that are not routed and older, and all that are not routed; otherwise events changed
-- writes: webhook_events, router.history
-- locks: the events in the order of their place
create or replace function pg_temp.webhook_router_history(
    p_step pg_catalog.text, p_from pg_catalog.int8, p_to pg_catalog.int8, out events pg_catalog.int8,
    out of_all pg_catalog.int8
)
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_indexscan = off
set enable_bitmapscan = off
set jit = off
as $function$
declare
    v_before timestamptz := (select h.before from router.history h);
    v_marks  boolean := p_step = 'mark';
    v_from   tid := format('(%s,0)', coalesce(p_from, 0))::tid;
    v_to     tid := format('(%s,0)', coalesce(p_to, 4294967295))::tid;
begin
    if p_step = 'count' then
        if exists (select from pg_attribute a where a.attrelid = 'public.webhook_events'::regclass
                                                and a.attname = 'routed_at' and not a.attisdropped) then
            select count(*) filter (where coalesce(w.created_at, w.event_date) < v_before), count(*) into events, of_all
            from public.webhook_events w
            where w.routed_at is null;
        else
            select count(*) filter (where coalesce(w.created_at, w.event_date) < v_before), count(*) into events, of_all
            from public.webhook_events w;
        end if;
        return;
    end if;
    -- For the application's triggers.
    perform set_config('search_path', 'pg_catalog, public, extensions, pg_temp', true);
    if v_marks then
        update public.webhook_events w
        set routed_at = v_before
        where w.ctid operator(pg_catalog.>=) v_from and w.ctid operator(pg_catalog.<) v_to
          and w.routed_at is null and w.parked_until is null
          and coalesce(w.created_at, w.event_date) operator(pg_catalog.<) v_before;
    else
        update public.webhook_events w
        set routed_at = null
        where w.ctid operator(pg_catalog.>=) v_from and w.ctid operator(pg_catalog.<) v_to
          and w.routed_at operator(pg_catalog.=) v_before
          and (coalesce(w.created_at, w.event_date) is null
               or coalesce(w.created_at, w.event_date) operator(pg_catalog.>=) v_before);
    end if;
    get diagnostics events = row_count;
    -- What is deferred to the commit would run with the rights of the session.
    set constraints all immediate;
    perform pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    update router.history h
    set block = coalesce(p_to, h.blocks), marked = h.marked + case when v_marks then events else -events end,
        state = case when p_to is null then 'done' else h.state end;
end
$function$;
