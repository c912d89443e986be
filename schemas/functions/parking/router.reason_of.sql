-- router.reason_of: an error in one line for the log and for operators: SQLSTATE, message, and the objects it is about.
-- takes: an error that was caught
-- returns: the line. It leaves out messages that may quote an event: those that the application's code writes itself, and
--   those of the parser about a statement that this code has put together
create or replace function router.reason_of(p_error router.fault)
returns text
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $function$
declare
    v_newline  constant text := chr(10);
    v_first    constant text := split_part(p_error.context, v_newline, 1);
    -- The server translates contexts, except for these words.
    v_quoted   constant boolean := (position('RAISE' in v_first) > 0 and p_error.code <> 'RW005') or position('ASSERT' in v_first) > 0
                                   or (position('PL/' in v_first) > 0 and position('PL/pgSQL' in v_first) = 0)
                                   or (p_error.code = '42601' and position(' EXECUTE' in p_error.context) > 0)
                                   or p_error.message = '';
    v_objects  text[] := '{}';
    v_function constant text := (
        select f.name
        from regexp_split_to_table(p_error.context collate "C", v_newline) with ordinality as l (line, number)
        cross join lateral substring(l.line from '[A-Za-z0-9_."$]+[(][^()]*[)]') as f (name)
        where position('PL/pgSQL' in l.line) > 0 and not starts_with(f.name, 'router.')
        order by l.number
        limit 1
    );
begin
    if p_error.table_name <> '' then
        v_objects := v_objects || format('table %I.%I', p_error.schema_name, p_error.table_name);
    end if;
    if p_error.column_name <> '' then
        v_objects := v_objects || format('column %I', p_error.column_name);
    end if;
    if p_error.constraint_name <> '' then
        v_objects := v_objects || format('constraint %I', p_error.constraint_name);
    end if;
    if v_function is not null then
        v_objects := v_objects || format('function %s', v_function);
    end if;
    if v_objects = '{}' then
        v_objects := array(
            select distinct 'table ' || t.found[1]
            from regexp_matches(p_error.context collate "C",
                                '(?:into|update) (public[.][a-z_]+|router[.]parked_events)', 'g') as t (found)
            order by 1
        );
    end if;
    return p_error.code || case when v_quoted then '' else ': ' || left(p_error.message, 500) end
           || case when v_objects = '{}' then '' else ' (' || array_to_string(v_objects, ', ') || ')' end;
end
$function$;
