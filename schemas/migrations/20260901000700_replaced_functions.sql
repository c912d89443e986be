-- The application's own functions that those of the public API replace: what it takes to put them back.

do $migration$
begin
    if to_regclass('router.replaced_functions') is null then
        create table router.replaced_functions (
            signature   text primary key,
            definition  text,         -- null: an earlier version may have replaced one, and has kept no copy
            owner       text,
            rights      jsonb,        -- null: never granted or revoked; otherwise a list, null as a grantee for PUBLIC
            description text,         -- its comment
            extensions  text[],       -- that it goes with when they are dropped
            kept_at     timestamptz not null default now()
        );
        insert into router.replaced_functions (signature)
        select p.oid::regprocedure::text
        from pg_proc p
        join router.schema_functions s on s.file = format('public.%s.sql', p.proname)
        where p.pronamespace = 'public'::regnamespace and p.prosrc like '%select router.%'
          and replace(s.signature, '"', '') = replace(p.oid::regprocedure::text, '"', '');
    end if;
end
$migration$;
