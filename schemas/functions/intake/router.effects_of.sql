-- router.effects_of: effects as JSON lines have them; one that cannot be read is left out alone.
-- takes: lines, see router.take_deliveries; when their deliveries came, by number, null for now; how many lines come before
--   them, for the places
-- returns: effects: null if there is none; one that tells no time has that of its arrival; refused: places of lines (from 1),
--   with SQLSTATE and message in codes and reasons
create or replace function router.effects_of(
    p_lines jsonb[], p_received timestamptz[], p_before integer,
    out effects router.effect[], out refused integer[], out codes text[], out reasons text[]
)
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set jit = off
as $function$
declare
    v_part  record;
    v_error router.fault;
begin
    refused := '{}';
    codes := '{}';
    reasons := '{}';
    begin
        select array_agg(router.effect_of(case when l.line ->> 'at' is null then l.line - 'at' else l.line end,
                                          p_before + l.place::integer,
                                          coalesce(p_received[(l.line ->> 'delivery')::integer + 1], now()))
                         order by l.place)
        into effects
        from unnest(p_lines) with ordinality as l (line, place);
        return;
    exception
        when data_exception or program_limit_exceeded then
            if cardinality(p_lines) = 1 then
                get stacked diagnostics
                    v_error.code = returned_sqlstate, v_error.message = message_text, v_error.context = pg_exception_context;
                refused := array[p_before + 1];
                codes := array[v_error.code];
                reasons := array[router.kind_of(v_error)];
                return;
            end if;
    end;
    for v_place in 1..cardinality(p_lines) loop
        v_part := router.effects_of(p_lines[v_place:v_place], p_received, p_before + v_place - 1);
        effects := effects || v_part.effects;
        refused := refused || v_part.refused;
        codes := codes || v_part.codes;
        reasons := reasons || v_part.reasons;
    end loop;
end
$function$;
