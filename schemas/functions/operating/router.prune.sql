-- router.prune: one step of deleting routed events, or only their payloads, once they are old enough; the messages that they
-- have become stay. It can be called again at any time, and ended at any time.
-- takes: p_kind, 'events' or 'payloads'; p_keep, how long they are kept after they were routed, an hour at least; p_limit, how many
--   events a step looks at; p_place, the one that the last step has returned, null to begin; p_dry_run: says what it would do
-- returns: gone: so many events, or payloads; bytes: what they took in the table, about, the rest of the row with events; refused:
--   events that the application keeps, by a foreign key or a trigger; reason: why the first of them; place: where the next step goes
--   on, null: there is nothing else; oldest: when the oldest event was routed that this step has left there, null if there
--   is none; busy: another session prunes, and this call has done nothing
-- raises: as router.take_due
-- writes: webhook_events, router.installation
-- locks: see router.take_due
create or replace function router.prune(
    p_kind text, p_keep interval, p_limit integer default 1000, p_place jsonb default null, p_dry_run boolean default false,
    out gone integer, out bytes bigint, out refused integer, out reason text, out place jsonb, out oldest timestamptz,
    out busy boolean
)
language plpgsql
volatile
security definer
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
    v_due record;
begin
    gone := 0;
    bytes := 0;
    refused := 0;
    v_due := router.take_due(p_kind, p_keep, p_limit, p_place, false, p_dry_run);
    busy := v_due.busy;
    place := v_due.place;
    if cardinality(v_due.ids) > 0 then
        gone := cardinality(v_due.ids);
        bytes := v_due.bytes;
        if not p_dry_run then
            select d.gone, cardinality(d.kept), d.reason into gone, refused, reason
            from router.drop_taken(p_kind, p_keep, v_due.ids) d;
            bytes := case when gone = 0 then 0 else bytes * gone / cardinality(v_due.ids) end;
        end if;
    end if;
    if p_kind = 'payloads' and not p_dry_run and not busy then
        perform router.note_pruned(v_due.reached);
    end if;
    oldest := (
        select w.routed_at
        from public.webhook_events w
        where w.routed_at > '-infinity'
        order by w.routed_at
        limit 1
    );
end
$function$;
