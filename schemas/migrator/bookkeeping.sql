-- What the migrator remembers: which migrations are applied, and what the functions looked like when it made them.

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
    if to_regclass('router.function_fingerprints') is null then
        create view router.function_fingerprints as
        select f.file, f.signature, f.made_now,
               md5(pg_get_functiondef(f.oid)
                   || coalesce((select string_agg(pg_get_triggerdef(t.oid), ';' order by t.tgname)
                                from pg_trigger t where t.tgfoid = f.oid), '')) as fingerprint
        from (
            select p.oid, n.nspname || '.' || p.proname || '.sql' as file, p.oid::regprocedure::text as signature,
                   p.xmin = pg_current_xact_id_if_assigned()::xid as made_now
            from pg_proc p
            join pg_namespace n on n.oid = p.pronamespace
            where n.nspname in ('public', 'router') and p.prokind in ('f', 'p')
            offset 0
        ) f;
    end if;
end
$bookkeeping$;
