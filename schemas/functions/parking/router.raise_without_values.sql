-- router.raise_without_values: raises an error again for whoever has called the public API, who may read no table: the detail of
-- a constraint quotes the whole row, and some messages quote a value, which others may have stored.
-- takes: an error that was caught, of class 22 or 23
-- raises: it, with the objects it is about, but without detail, hint, and what its message quotes
create or replace function router.raise_without_values(p_error router.fault)
returns void
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $function$
begin
    raise exception using
        errcode = p_error.code, schema = p_error.schema_name, table = p_error.table_name, column = p_error.column_name,
        constraint = p_error.constraint_name,
        -- A message of class 23 quotes nothing but names.
        message = case when left(p_error.code, 2) = '23' then p_error.message
                       else regexp_replace(p_error.message collate "C", '".*"', '"..."') end;
end
$function$;
