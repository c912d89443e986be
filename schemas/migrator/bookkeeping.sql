-- What the migrator remembers: which migrations are applied, and what types and functions looked like when it made them.

do $bookkeeping$
begin
    -- "if not exists" asks for the right to create a schema even where there is nothing to create.
    if to_regnamespace('router') is null then
        create schema router;
        revoke all on schema router from public;
    end if;
    if to_regclass('router.schema_migrations') is null then
        create table router.schema_migrations (
            version    text primary key,
            name       text not null,
            applied_at timestamptz not null default now()
        );
    end if;
    -- checksum: of the file; fingerprint: of what the catalogue made of it, so that a change by hand shows as well.
    if to_regclass('router.schema_functions') is null then
        create table router.schema_functions (
            file        text primary key,
            checksum    text,
            signature   text,
            fingerprint text
        );
    end if;
    -- Earlier versions kept the query of fingerprints.sql here. What somebody has built on it stays.
    if exists (select from pg_class c where c.oid = to_regclass('router.function_fingerprints') and c.relkind = 'v') then
        begin
            drop view router.function_fingerprints;
        exception
            when dependent_objects_still_exist then
                null;
        end;
    end if;
end
$bookkeeping$;
