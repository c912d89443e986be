-- router.drop_taken: deletes events that router.take_due has locked in the same transaction, or their payloads.
-- takes: p_kind, p_keep: as for router.take_due; the ids that it has returned
-- returns: gone: how many; kept: those that the application keeps, by a foreign key or a trigger; reason: why the first of them,
--   see router.reason_of
-- raises: what will pass, and object_not_in_prerequisite_state if the fault is the schema's. What the application refuses stays
-- writes: webhook_events
create or replace function router.drop_taken(
    p_kind text, p_keep interval, p_ids uuid[], out gone integer, out kept uuid[], out reason text
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
set jit = off
as $function$
declare
    v_before constant timestamptz := now() - p_keep;
    v_error  router.fault;
    v_done   record;
    v_path   text;
begin
    if p_kind is null or p_kind not in ('events', 'payloads') or p_keep is null or p_keep < interval '1 hour'
       or v_before > now() - interval '1 hour' then
        raise exception 'p_kind is ''events'' or ''payloads'', and p_keep an hour at least'
            using errcode = 'invalid_parameter_value';
    end if;
    begin
        v_path := pg_catalog.set_config('search_path', router.application_path(), true);
        if p_kind operator(pg_catalog.=) 'events' then
            delete from public.webhook_events w
            using pg_catalog.unnest(p_ids) as i (id)
            where w.id operator(pg_catalog.=) any (array[i.id]) and w.routed_at operator(pg_catalog.<) v_before
              and w.parked_until is null;
        else
            update public.webhook_events w
            set raw_payload = '{}'
            from pg_catalog.unnest(p_ids) as i (id)
            where w.id operator(pg_catalog.=) any (array[i.id]) and w.routed_at operator(pg_catalog.<) v_before
              and w.parked_until is null;
        end if;
        get diagnostics gone = row_count;
        v_path := pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
        perform router.check_deferred(router.deferred_constraints(true));
        v_path := pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
        kept := '{}';
        if gone < cardinality(p_ids) then  -- a rule may forbid to return what has gone
            kept := array(
                select i.id
                from unnest(p_ids) i (id)
                cross join lateral (select w.raw_payload from public.webhook_events w where w.id = i.id limit 1) w
                where p_kind = 'events' or w.raw_payload <> '{}'
            );
            gone := cardinality(p_ids) - cardinality(kept);  -- a trigger may have deleted others of them
            if kept <> '{}' then
                reason := 'a trigger or rule on webhook_events keeps them';
            end if;
        end if;
        return;
    exception  -- the setting of the path is undone as well
        when transaction_rollback or insufficient_resources or operator_intervention or system_error
             or lock_not_available or invalid_transaction_state then
            raise;
        when others or assert_failure then
            get stacked diagnostics
                v_error.code = returned_sqlstate, v_error.message = message_text, v_error.context = pg_exception_context,
                v_error.schema_name = schema_name, v_error.table_name = table_name, v_error.column_name = column_name,
                v_error.constraint_name = constraint_name;
    end;
    gone := 0;
    kept := '{}';
    if cardinality(p_ids) = 1 then
        kept := p_ids;
        reason := router.reason_of(v_error);
        return;
    end if;
    -- In halves, so that one which the application keeps costs few attempts.
    for v_half in 0..1 loop
        v_done := router.drop_taken(
            p_kind, p_keep,
            case v_half when 0 then p_ids[: cardinality(p_ids) / 2] else p_ids[cardinality(p_ids) / 2 + 1 :] end);
        gone := gone + v_done.gone;
        kept := kept || v_done.kept;
        reason := coalesce(reason, v_done.reason);
    end loop;
end
$function$;
