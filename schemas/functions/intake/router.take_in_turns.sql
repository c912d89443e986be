-- router.take_in_turns: router.take_or_leave in turns, each up to a delivery that tells somebody's new number or user id: messages
-- of the deliveries after it come from the same person. Within a turn all messages come before what changes something.
-- Nearly always there is no such delivery, and one turn.
-- takes, returns, raises: as router.take_or_leave
create or replace function router.take_in_turns(
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
    v_ends  integer[];  -- numbers of the deliveries that end a turn
    v_after integer := -1;
    v_part  record;
begin
    if p_effects is not null and p_lines is not null then
        v_ends := array(select distinct (l.line ->> 'delivery')::integer
                        from unnest(p_effects) as l (line)
                        where l.line ->> 'kind' = 'system'
                        order by 1);
    end if;
    if v_ends is null or v_ends = '{}' then
        v_part := router.take_or_leave(p_lines, p_effects, p_received, p_path);
        batch := v_part.batch;
        effects := v_part.effects;
        refused := v_part.refused;
        codes := v_part.codes;
        reasons := v_part.reasons;
        return;
    end if;
    batch := router.route_claimed(null, 1);
    effects := '{}';
    refused := '{}';
    codes := '{}';
    reasons := '{}';
    v_ends := v_ends || 2147483647;
    for v_turn in 1..cardinality(v_ends) loop
        v_part := router.take_or_leave(
            (select array_agg(l.line order by l.place) from unnest(p_lines) with ordinality as l (line, place)
             where (l.line ->> 'delivery')::integer > v_after and (l.line ->> 'delivery')::integer <= v_ends[v_turn]),
            (select array_agg(l.line order by l.place) from unnest(p_effects) with ordinality as l (line, place)
             where (l.line ->> 'delivery')::integer > v_after and (l.line ->> 'delivery')::integer <= v_ends[v_turn]),
            p_received, p_path);
        batch := router.sum_of_batches(batch, v_part.batch);
        effects := router.sum_of_effects(effects, v_part.effects);
        refused := refused || v_part.refused;
        codes := codes || v_part.codes;
        reasons := reasons || v_part.reasons;
        v_after := v_ends[v_turn];
    end loop;
end
$function$;
