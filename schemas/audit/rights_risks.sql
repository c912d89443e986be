-- Rights around the six tables that are not for migrations to change, each with the statement that does: who made the tables
-- has decided them, or has not thought of them. It reads the catalogue alone.
-- returns: name, required (false: a note), detail (what, and SQL)

with wanted (name, is_inbox) as (
    values ('contacts', false), ('contact_channels', false), ('conversations', true), ('messages', true),
           ('message_analysis', true), ('webhook_events', true), ('message_delivery', true), ('message_reactions', true),
           ('message_revisions', true)
), tables as (
    select w.name, w.is_inbox, c.oid, c.relowner, o.rolname as owner, o.rolsuper, c.relrowsecurity, c.relacl
    from wanted w
    join pg_class c on c.oid = to_regclass('public.' || w.name) and c.relkind in ('r', 'p')
    join pg_roles o on o.oid = c.relowner
), entries as (
    select t.name, a.grantee, a.privilege_type as privilege
    from tables t
    cross join lateral aclexplode(t.relacl) a
    where a.grantee <> t.relowner
    union
    select t.name, a.grantee, a.privilege_type
    from tables t
    join pg_attribute c on c.attrelid = t.oid and not c.attisdropped
    cross join lateral aclexplode(c.attacl) a
    where a.grantee <> t.relowner
), strangers as (
    -- Rights that everybody has, or that anon or authenticated have, by themselves or by a role that they are members of.
    select e.name, e.grantee, x.who, case e.grantee when 0 then 'public' else e.grantee::regrole::text end as to_whom,
           string_agg(distinct lower(e.privilege collate "C"), ', ') as privileges
    from entries e
    cross join lateral (
        select 'everybody (PUBLIC)' as who where e.grantee = 0
        union all
        select r.rolname from pg_roles r
        where e.grantee <> 0 and r.rolname in ('anon', 'authenticated') and not r.rolsuper
          and pg_has_role(r.oid, e.grantee, 'usage')
    ) x
    group by e.name, e.grantee, x.who
), public_schema as (
    select n.oid, n.nspowner, n.nspacl from pg_namespace n where n.nspname = 'public'
)

select 'public.' || s.name as name, true as required,
       format('%s has the rights %s: revoke all on public.%I from %s;', s.who, s.privileges, s.name, s.to_whom) as detail
from strangers s
where s.who <> 'authenticated'

union all
select 'public.' || t.name, t.is_inbox,
       format('has no row security, and authenticated has the rights %s: alter table public.%I enable row level security; '
              '-- and a policy for those who are to see rows', s.privileges, t.name)
from tables t
join strangers s on s.name = t.name and s.who = 'authenticated'
where not t.relrowsecurity

union all
select 'tables', false,
       format('public.webhook_events belongs to the superuser %I, with whose rights routing writes. Better a role of its own: '
              'create role webhook_router_owner; %s -- then: webhook-router migrate', t.owner,
              (select string_agg(format('alter table public.%I owner to webhook_router_owner;', a.name), ' ' order by a.name)
               from tables a))
from tables t
where t.name = 'webhook_events' and t.rolsuper

union all
select format('public.%s.%s', t.name, g.tgname), true,
       format('calls %s, which %I can change at will, with the rights of the superuser %I: alter function %s owner to %I;',
              p.oid::regprocedure, f.rolname, t.owner, p.oid::regprocedure, t.owner)
from tables t
join tables e on e.name = 'webhook_events' and e.rolsuper
join pg_trigger g on g.tgrelid = t.oid and not g.tgisinternal and g.tgenabled <> 'D' and g.tgname <> 'webhook_router_doorbell'
join pg_proc p on p.oid = g.tgfoid and not p.prosecdef
join pg_roles f on f.oid = p.proowner and not f.rolsuper

union all
select 'schema public', a.grantee = 0,
       format('%s may create there: revoke create on schema public from %s;',
              case a.grantee when 0 then 'everybody (PUBLIC)' else a.grantee::regrole::text end,
              case a.grantee when 0 then 'public' else a.grantee::regrole::text end)
from public_schema n
cross join lateral aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a
left join pg_roles r on r.oid = a.grantee
where a.privilege_type = 'CREATE' and a.grantee <> n.nspowner
  and coalesce(not r.rolsuper and r.rolname <> 'pg_database_owner', true)
  and not exists (select from tables t where t.relowner = a.grantee)

order by 2 desc, 1, 3
