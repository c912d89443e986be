-- What the migrator remembers: which migrations are applied, and what types and functions looked like when it made them.

do $bookkeeping$
declare
    v_lost record;
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
    -- What somebody has dropped of them. A list without its entries is written anew by this run.
    for v_lost in
        select w.relation, w.name, w.definition
        from (values ('schema_migrations', 'version', 'text'), ('schema_migrations', 'name', $$text not null default ''$$),
                     ('schema_migrations', 'applied_at', 'timestamptz not null default now()'),
                     ('schema_functions', 'file', 'text'), ('schema_functions', 'checksum', 'text'),
                     ('schema_functions', 'signature', 'text'), ('schema_functions', 'fingerprint', 'text')
             ) as w (relation, name, definition)
        where not exists (select from pg_attribute a
                          where a.attrelid = to_regclass('router.' || w.relation) and a.attname = w.name
                            and not a.attisdropped)
    loop
        if v_lost.name in ('version', 'file') then
            execute format('delete from router.%I', v_lost.relation);
        end if;
        execute format('alter table router.%I add column %I %s', v_lost.relation, v_lost.name, v_lost.definition);
        if v_lost.name = 'name' then
            alter table router.schema_migrations alter column name drop default;
        end if;
    end loop;
    for v_lost in
        select w.relation, w.name
        from (values ('schema_migrations', 'version'), ('schema_functions', 'file')) as w (relation, name)
        where not exists (select from pg_index i where i.indrelid = to_regclass('router.' || w.relation) and i.indisprimary)
    loop
        execute format('alter table router.%I add primary key (%I)', v_lost.relation, v_lost.name);
    end loop;
    -- The signature of a function changes with the name of a table whose rows it takes.
    update router.schema_functions s
    set signature = f.signature
    from (select format('router.%s.sql', p.proname) as file, min(p.oid::regprocedure::text) as signature
          from pg_proc p
          where p.pronamespace = 'router'::regnamespace
          group by p.proname
          having count(*) = 1) f
    where f.file = s.file and not starts_with(s.signature, 'type ')
      and not exists (select from pg_proc p where p.oid::regprocedure::text = replace(s.signature, '"', ''));
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
