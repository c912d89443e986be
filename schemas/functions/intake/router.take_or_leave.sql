-- router.take_or_leave: router.take_atoms for several deliveries; if they fail together, each is taken alone, and the one that
-- fails has no effect at all.
-- takes: as router.take_atoms
-- returns: as router.take_atoms; a delivery that fails is refused once
-- raises: what will pass (deadlock, lock timeout, full disk, shutdown, read-only)
create or replace function router.take_or_leave(
    p_lines jsonb[], p_effects jsonb[], p_received timestamptz[], p_path text,
    out batch router.batch, out effects jsonb, out refused integer[], out codes text[], out reasons text[]
)
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set jit = off
as $function$
declare
    v_numbers integer[];  -- of the deliveries
    v_part    record;
    v_error   router.fault;
begin
    begin
        v_part := router.take_atoms(p_lines, p_effects, p_received, p_path);
        batch := v_part.batch;
        effects := v_part.effects;
        refused := v_part.refused;
        codes := v_part.codes;
        reasons := v_part.reasons;
        return;
    exception
        when transaction_rollback or insufficient_resources or operator_intervention or system_error
             or lock_not_available or invalid_transaction_state then
            raise;
        when others or assert_failure then
            get stacked diagnostics
                v_error.code = returned_sqlstate, v_error.message = message_text, v_error.context = pg_exception_context,
                v_error.schema_name = schema_name, v_error.table_name = table_name, v_error.column_name = column_name,
                v_error.constraint_name = constraint_name;
    end;
    v_numbers := array(select distinct (l.line ->> 'delivery')::integer
                       from unnest(p_lines || p_effects) as l (line)
                       order by 1);
    batch := router.route_claimed(null, 1);
    effects := '{}';
    refused := '{}';
    codes := '{}';
    reasons := '{}';
    if cardinality(v_numbers) = 1 then
        refused := v_numbers;
        codes := array[v_error.code];
        reasons := array[router.kind_of(v_error)];
        return;
    end if;
    for v_place in 1..cardinality(v_numbers) loop
        v_part := router.take_or_leave(
            (select array_agg(l.line order by l.place) from unnest(p_lines) with ordinality as l (line, place)
             where (l.line ->> 'delivery')::integer = v_numbers[v_place]),
            (select array_agg(l.line order by l.place) from unnest(p_effects) with ordinality as l (line, place)
             where (l.line ->> 'delivery')::integer = v_numbers[v_place]),
            p_received, p_path);
        batch := router.sum_of_batches(batch, v_part.batch);
        effects := router.sum_of_effects(effects, v_part.effects);
        refused := refused || v_part.refused;
        codes := codes || v_part.codes;
        reasons := reasons || v_part.reasons;
    end loop;
end
$function$;
