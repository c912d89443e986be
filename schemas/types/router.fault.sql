-- router.fault: an error that was caught, as "get stacked diagnostics" tells of it; what does not apply is an empty text.
create type router.fault as (
    code            text,  -- SQLSTATE
    message         text,
    context         text,
    schema_name     text,
    table_name      text,
    column_name     text,
    constraint_name text
);
