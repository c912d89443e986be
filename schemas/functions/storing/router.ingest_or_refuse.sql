-- router.ingest_or_refuse: stores the events of JSON lines; lines that fail together are split until the failing line
-- is alone, and that one is refused. An error that is not a line's own fault (deadlock, full disk, shutdown, a fault of the
-- schema, see router.is_schema_fault) is passed on: nothing is stored then, and the same lines can be tried again.
-- takes: lines; how many lines come before them, for the places returned; p_archived: they are lines of an archive
-- returns: as router.ingest_lines
create or replace function router.ingest_or_refuse(
    p_lines text[], p_before integer, p_archived boolean default false,
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
    v_step  constant integer := greatest(v_size / 64, 1);  -- not halves: one of thousands of lines is alone after two steps
    v_part  record;
    v_error router.fault;
begin
    refused := '{}';
    codes := '{}';
    reasons := '{}';
    begin
        if p_archived then
            inserted := router.restore_events(p_lines::jsonb[]);
            return;
        end if;
        inserted := router.ingest_events((
            select array_agg(router.incoming_of(j.line) order by j.place)
            from (
                select l.line::jsonb as line, l.place
                from unnest(p_lines) with ordinality as l (line, place)
                offset 0  -- parsed once, not once a field
            ) j
        ));
        return;
    exception
        when transaction_rollback or insufficient_resources or operator_intervention or system_error
             or lock_not_available or invalid_transaction_state then
            raise;
        when others then
            get stacked diagnostics
                v_error.code = returned_sqlstate, v_error.schema_name = schema_name, v_error.table_name = table_name,
                v_error.column_name = column_name;
            if router.is_schema_fault(v_error) then
                raise;
            end if;
            if v_size = 1 then
                inserted := 0;
                refused := array[p_before + 1];
                codes := array[sqlstate];
                reasons := array[sqlerrm];
                return;
            end if;
    end;
    inserted := 0;
    for v_place in 0..v_size - 1 by v_step loop
        v_part := router.ingest_or_refuse(p_lines[v_place + 1:v_place + v_step], p_before + v_place, p_archived);
        inserted := inserted + v_part.inserted;
        refused := refused || v_part.refused;
        codes := codes || v_part.codes;
        reasons := reasons || v_part.reasons;
    end loop;
end
$function$;
