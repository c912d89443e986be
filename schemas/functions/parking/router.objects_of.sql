-- router.objects_of: what an error is about: table, column, constraint, and the innermost function of the application.
-- takes: an error that was caught
-- returns: for example (table public.contacts, function app.judge()); null if nothing is known
create or replace function router.objects_of(p_error router.fault)
returns text
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $function$
declare
    v_objects  text[] := '{}';
    v_function constant text := (
        select f.name
        from regexp_split_to_table(p_error.context collate "C", chr(10)) with ordinality as l (line, number)
        cross join lateral substring(l.line from '[A-Za-z0-9_."$]+[(][^()]*[)]') as f (name)
        -- Near the beginning of the line: further on it may be the text of a statement.
        where position('PL/pgSQL' in l.line) between 1 and 12 and not starts_with(f.name, 'router.')
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
                                '(?:into|update) (public[.](?:webhook_events|contacts|contact_channels|conversations|messages)'
                                '|router[.]parked_events)', 'g') as t (found)
            order by 1
        );
    end if;
    return case when v_objects <> '{}' then '(' || array_to_string(v_objects, ', ') || ')' end;
end
$function$;
