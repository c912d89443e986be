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
    -- The view of earlier versions does not know the types.
    if coalesce(position('pg_attribute' in pg_get_viewdef(to_regclass('router.function_fingerprints'))), 0) = 0 then
        drop view if exists router.function_fingerprints;  -- "or replace" cannot change the collation of a column
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
        ) f
        union all
        select n.nspname || '.' || t.typname || '.sql', 'type ' || t.oid::regtype::text, false,
               md5(string_agg(concat_ws(' ', a.attname, format_type(a.atttypid, a.atttypmod), a.attcollation::regcollation), ', '
                              order by a.attnum))
        from pg_type t
        join pg_namespace n on n.oid = t.typnamespace
        join pg_class c on c.oid = t.typrelid and c.relkind = 'c'
        join pg_attribute a on a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped
        where n.nspname = 'router'
        group by n.nspname, t.typname, t.oid;
    end if;
end
$bookkeeping$;
