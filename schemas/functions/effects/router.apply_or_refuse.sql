-- router.apply_or_refuse: applies effects of one kind; those that fail together are split until the failing one is alone.
-- takes: effects, see router.apply_kind
-- returns: as router.apply_kind; refused: the places of those that fail, with the reason of each
-- raises: what will pass (deadlock, lock timeout, full disk, shutdown)
create or replace function router.apply_or_refuse(
    p_kind text, p_effects router.effect[], out changed integer, out waits integer[], out refused integer[], out reasons text[]
)
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $function$
declare
    v_size  constant integer := cardinality(p_effects);
    v_step  constant integer := case when v_size > 8 then (v_size + 7) / 8 else 1 end;
    v_error router.fault;
    v_done  record;
begin
    refused := '{}';
    reasons := '{}';
    begin
        v_done := router.apply_kind(p_kind, p_effects);
        changed := v_done.changed;
        waits := v_done.waits;
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
    changed := 0;
    waits := '{}';
    if v_size = 1 then
        refused := array[(p_effects[1]).place];
        reasons := array[router.reason_of(v_error)];
        return;
    end if;
    for v_first in 1..v_size by v_step loop
        v_done := router.apply_or_refuse(p_kind, p_effects[v_first:v_first + v_step - 1]);
        changed := changed + v_done.changed;
        waits := waits || v_done.waits;
        refused := refused || v_done.refused;
        reasons := reasons || v_done.reasons;
    end loop;
end
$function$;
