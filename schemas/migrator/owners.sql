-- Owners with whose rights nothing may be written, or whom the migrating role cannot act for: it only reads the catalogue.
-- The migrator puts the names of our files in place of the comment below.
-- returns: problem, remedy (SQL)

with me as (
    select r.oid, r.rolname, r.rolsuper from pg_roles r where r.rolname = current_user
), ours (file) as (
    select unnest(array[/* files */]::text[])
), wanted (name, rank) as (
    -- The order in which the migration that makes the missing ones looks for the owner of all.
    values ('webhook_events', 1), ('messages', 2), ('conversations', 3), ('contacts', 4), ('contact_channels', 5),
           ('message_analysis', 6)
), tables as (
    select w.name, w.rank, c.relowner, o.rolname as owner, o.rolsuper as owner_is_super
    from wanted w
    join pg_class c on c.oid = to_regclass('public.' || w.name) and c.relkind = 'r'
    join pg_roles o on o.oid = c.relowner
), database as (
    select d.datdba, o.rolname as owner
    from pg_database d
    join pg_roles o on o.oid = d.datdba
    where d.datname = current_database()
)

-- Whoever may create in "public" could have made one of them, and would come to own the others and what writes to them.
select format('public.%s belongs to "%s", who owns neither the database nor its schema public, and the tables that are missing '
              'would come to belong to the same role', t.name, t.owner) as problem,
       format('alter table public.%I owner to %I; -- or, if "%s" is to own all of them, migrate as "%s"', t.name, d.owner,
              t.owner, t.owner) as remedy
from me
cross join database d
join tables t on not t.owner_is_super and t.relowner <> d.datdba
where me.rolsuper  -- others must be members of the owner, which somebody has decided
  and (select count(*) from tables) < (select count(*) from wanted)
  and not exists (select from pg_namespace n where n.nspname = 'public' and pg_has_role(t.relowner, n.nspowner, 'usage'))

union all
-- The owner of a table can hang triggers on it, which run with the rights of whoever writes.
select format('public.%s belongs to "%s", but public.webhook_events to the superuser "%s", with whose rights routing writes',
              t.name, t.owner, e.owner),
       format('alter table public.%I owner to %I;', t.name, e.owner)
from tables e
join tables t on not t.owner_is_super
where e.name = 'webhook_events' and e.owner_is_super

union all
-- A restored or a taken over database: rights.sql gives them to the owner of the tables, if it may.
select format('%s in the schema "router" belong to "%s", which "%s" is no member of', o.what, o.owner, me.rolname),
       format('webhook-router migrate, once, as a superuser or as "%s"', o.owner)
from me
join (
    select array_to_string((array_agg(x.name order by x.name))[1 : 3], ', ')
               || case when count(*) > 3 then format(' and %s more', count(*) - 3) else '' end as what,
           r.rolname as owner, x.owner as id
    from (
        select c.oid::regclass::text as name, c.relowner as owner
        from pg_class c
        where c.relnamespace = to_regnamespace('router') and c.relkind in ('r', 'p', 'S', 'v')
          and (c.relname in ('schema_migrations', 'schema_functions', 'function_fingerprints', 'parked_events', 'installation',
                             'replaced_functions', 'found', 'history', 'deliveries', 'deliveries_default', 'delivery_ids',
                             'waiting', 'watermarks', 'referrals', 'silent_edits', 'open_replies', 'deleted_messages',
                             'kafka_positions', 'erasures')
               or c.relispartition and c.relname ~ '^deliveries_[0-9]{8}$')
        union all
        select p.oid::regprocedure::text, p.proowner
        from pg_proc p
        join ours o on o.file = format('router.%s.sql', p.proname)
        where p.pronamespace = to_regnamespace('router')
        union all
        select t.oid::regtype::text, t.typowner
        from pg_type t
        join ours o on o.file = format('router.%s.sql', t.typname)
        where t.typnamespace = to_regnamespace('router')
    ) x
    join pg_roles r on r.oid = x.owner
    group by r.rolname, x.owner
) o on not pg_has_role(o.id, 'usage')
-- A login of the service is told one thing, see preflight.sql.
where not coalesce(pg_has_role(to_regrole('webhook_router_service'), 'usage'), false)
