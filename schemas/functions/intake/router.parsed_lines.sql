-- router.parsed_lines: JSON lines, parsed.
-- takes: lines, separated by line feeds, see router.take_deliveries; null or an empty text for none
-- returns: lines: null if there is none; refused: the numbers of the deliveries (from 0) of those that Postgres does not take
--   for JSON, such as one with a number that no numeric holds, with SQLSTATE and message in codes and reasons
create or replace function router.parsed_lines(
    p_lines text, out lines jsonb[], out refused integer[], out codes text[], out reasons text[]
)
language plpgsql
stable
set search_path = pg_catalog, pg_temp
set jit = off
as $function$
declare
    v_lines text[];
begin
    refused := '{}';
    codes := '{}';
    reasons := '{}';
    if p_lines is null or p_lines = '' then
        return;
    end if;
    v_lines := string_to_array(p_lines, E'\n');
    begin
        lines := v_lines::jsonb[];
        return;
    exception
        when data_exception or program_limit_exceeded then
            null;
    end;
    for v_place in 1..cardinality(v_lines) loop
        begin
            lines := array_append(lines, v_lines[v_place]::jsonb);
        exception
            when data_exception or program_limit_exceeded then
                refused := refused || coalesce(substring(v_lines[v_place] from '"delivery" *: *([0-9]{1,9})')::integer, 0);
                codes := codes || sqlstate::text;
                reasons := reasons || router.condition_of(sqlstate);
        end;
    end loop;
end
$function$;
