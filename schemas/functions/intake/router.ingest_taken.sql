-- router.ingest_taken: stores the messages that deliveries were taken apart into; those that fail together are split until
-- the failing one is alone, and that one is refused. As router.ingest_or_refuse, for lines that are parsed already.
-- takes: lines, see router.take_deliveries; when their deliveries came, by number, null for now; how many lines come before
--   them, for the places returned
-- returns: inserted: how many are new; refused: places of lines (from 1), with SQLSTATE and message in codes and reasons
-- raises: errors that are not a line's own fault: nothing is stored then
-- writes: see router.ingest_events
create or replace function router.ingest_taken(
    p_lines jsonb[], p_received timestamptz[], p_before integer,
    out inserted integer, out refused integer[], out codes text[], out reasons text[]
)
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set jit = off
as $function$
declare
    v_size  constant integer := cardinality(p_lines);
    v_step  constant integer := greatest(v_size / 64, 1);
    v_part  record;
    v_error router.fault;
begin
    refused := '{}';
    codes := '{}';
    reasons := '{}';
    begin
        inserted := router.ingest_events((
            select array_agg(router.incoming_of(router.dated_line(l.line, p_received[(l.line ->> 'delivery')::integer + 1]),
                                                l.line -> 'normalized') order by l.place)
            from unnest(p_lines) with ordinality as l (line, place)
        ));
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
            if router.is_schema_fault(v_error) then
                raise;
            end if;
            if v_size = 1 then
                inserted := 0;
                refused := array[p_before + 1];
                codes := array[v_error.code];
                reasons := array[router.kind_of(v_error)];
                return;
            end if;
    end;
    inserted := 0;
    for v_place in 0..v_size - 1 by v_step loop
        v_part := router.ingest_taken(p_lines[v_place + 1:v_place + v_step], p_received, p_before + v_place);
        inserted := inserted + v_part.inserted;
        refused := refused || v_part.refused;
        codes := codes || v_part.codes;
        reasons := reasons || v_part.reasons;
    end loop;
end
$function$;
