-- Code that hangs on the tables in which the migrator keeps its books, and would run with the rights of whoever migrates:
-- nothing of it is ours. It only reads the catalogue.
-- returns: problem, remedy (SQL)

with tables as (
    select c.oid, format('router.%I', c.relname) as name, c.reltype, c.relowner
    from pg_class c
    where c.relnamespace = to_regnamespace('router') and c.relkind in ('r', 'p')
      and (c.relname in ('schema_migrations', 'schema_functions', 'parked_events', 'installation', 'replaced_functions',
                         'found', 'history', 'deliveries', 'deliveries_default', 'waiting', 'watermarks', 'referrals',
                         'silent_edits', 'open_replies', 'deleted_messages', 'kafka_positions', 'erasures')
           or c.relispartition and c.relname ~ '^deliveries_[0-9]{8}$')
), strangers as (
    -- Children and parents that are not partitions of ours.
    select i.inhrelid, i.inhparent
    from pg_inherits i
    where not exists (select
                      from tables p
                      join tables c on c.name <> p.name
                      where p.oid = i.inhparent and c.oid = i.inhrelid and p.name = 'router.deliveries'
                        and c.name ~ '^router[.]deliveries_([0-9]{8}|default)$')
), expressions as (
    select t.oid, d.adrelid as relation, 'pg_attrdef'::regclass as catalogue, d.oid as object,
           format('the default of %s.%I', t.name, a.attname) as what,
           format('alter table %s alter column %I %s;', t.name, a.attname,
                  case when a.attgenerated <> '' then 'drop expression'
                       when a.attname in ('applied_at', 'first_parked_at', 'last_parked_at') then 'set default now()'
                       when a.attname = 'attempts' then 'set default 1'
                       when a.attname in ('only', 'doorbell', 'public_api') then 'set default true'
                       else 'drop default' end) as remedy
    from tables t
    join pg_attrdef d on d.adrelid = t.oid
    join pg_attribute a on a.attrelid = t.oid and a.attnum = d.adnum
    union all
    select t.oid, t.oid, 'pg_constraint'::regclass, k.oid, format('constraint %I of %s', k.conname, t.name),
           format('alter table %s drop constraint %I;', t.name, k.conname)
    from tables t
    join pg_constraint k on k.conrelid = t.oid and k.contype in ('c', 'x')
    union all
    select t.oid, t.oid, 'pg_class'::regclass, i.indexrelid, format('index %s of %s', i.indexrelid::regclass, t.name),
           format('drop index %s;', i.indexrelid::regclass)
    from tables t
    join pg_index i on i.indrelid = t.oid
    union all
    -- The planner evaluates what it can of these too.
    select t.oid, t.oid, 'pg_statistic_ext'::regclass, s.oid,
           format('statistics object %s.%I of %s', s.stxnamespace::regnamespace, s.stxname, t.name),
           format('drop statistics %s.%I;', s.stxnamespace::regnamespace, s.stxname)
    from tables t
    join pg_statistic_ext s on s.stxrelid = t.oid
)

select format('trigger %I on %s runs code of others when webhook-router writes there', g.tgname, t.name) as problem,
       format('drop trigger %I on %s;', g.tgname, t.name) as remedy
from tables t
join pg_trigger g on g.tgrelid = t.oid and not g.tgisinternal
join pg_proc p on p.oid = g.tgfoid
-- Whoever migrates may have hung something of their own there, and so may a superuser.
where exists (select from pg_roles r
              where r.oid in (t.relowner, p.proowner) and not r.rolsuper and r.rolname <> current_user)

union all
select format('rule %I on %s runs code of others when webhook-router reads or writes there', r.rulename, t.name),
       format('drop rule %I on %s;', r.rulename, t.name)
from tables t
join pg_rewrite r on r.ev_class = t.oid

union all
select format('policy %I on %s decides what webhook-router reads there', p.polname, t.name),
       format('drop policy %I on %s;', p.polname, t.name)
from tables t
join pg_policy p on p.polrelid = t.oid

union all
select format('%s is a child of %s', t.name, i.inhparent::regclass),
       format('alter table %s no inherit %s;', t.name, i.inhparent::regclass)
from tables t
join strangers i on i.inhrelid = t.oid

union all
select format('%s has the child %s', t.name, i.inhrelid::regclass),
       format('alter table %s no inherit %s;', i.inhrelid::regclass, t.name)
from tables t
join strangers i on i.inhparent = t.oid

union all
-- A cascade changes rows of the other table, whose triggers run with the rights of whoever migrates before Postgres 18.
select format('%s refers to %s by foreign key %I, and its triggers run code of others when webhook-router writes there',
              k.conrelid::regclass, t.name, k.conname),
       format('alter table %s drop constraint %I;', k.conrelid::regclass, k.conname)
from tables t
join pg_constraint k on k.confrelid = t.oid and k.contype = 'f'

union all
select format('column %s.%I is of type %s, which is not one of Postgres', t.name, a.attname, format_type(a.atttypid, null)),
       format('alter table %s alter column %I type text;', t.name, a.attname)
from tables t
join pg_attribute a on a.attrelid = t.oid and a.attnum > 0 and not a.attisdropped
join pg_type y on y.oid = a.atttypid and y.typnamespace <> 'pg_catalog'::regnamespace

union all
select distinct on (e.catalogue, e.object) format('%s runs code of others when webhook-router writes there', e.what), e.remedy
from expressions e
join pg_depend d on d.classid = e.catalogue and d.objid = e.object
where d.refclassid in ('pg_proc'::regclass, 'pg_operator'::regclass, 'pg_opclass'::regclass, 'pg_type'::regclass)
  and d.refobjid >= 16384  -- lower numbers are Postgres's own
