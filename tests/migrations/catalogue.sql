-- The schemas public and router as rows (kind, where, what): a fresh installation and an upgrade must give the same ones.
-- Names of constraints, indexes and policies are not compared, nor is the order of columns.
with mine as (
    select n.oid, n.nspname from pg_namespace n where n.nspname in ('public', 'router')
), relations as (
    select c.*, m.nspname || '.' || c.relname as name
    from pg_class c
    join mine m on m.oid = c.relnamespace
    where c.relkind in ('r', 'v', 'c', 'S', 'm', 'p', 'f')
), grants (kind, name, acl) as (
    select 'relation', r.name, coalesce(r.relacl, acldefault('r', r.relowner)) from relations r where r.relkind <> 'c'
    union all
    select 'function', p.oid::regprocedure::text, coalesce(p.proacl, acldefault('f', p.proowner))
    from pg_proc p join mine m on m.oid = p.pronamespace
    union all
    select 'schema', n.nspname, coalesce(n.nspacl, acldefault('n', n.nspowner))
    from pg_namespace n where n.nspname = 'router'
)
select 'relation', r.name, concat_ws(' ', r.relkind, r.relowner::regrole, r.relrowsecurity, r.relforcerowsecurity,
                                     r.relpersistence, r.reloptions)
from relations r
union all
select 'column', r.name || '.' || a.attname,
       concat_ws(' ', format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid), a.attgenerated,
                 a.attidentity)
from relations r
join pg_attribute a on a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped
left join pg_attrdef d on d.adrelid = r.oid and d.adnum = a.attnum
union all
select 'constraint', r.name, pg_get_constraintdef(c.oid) from pg_constraint c join relations r on r.oid = c.conrelid
union all
select 'index', r.name, regexp_replace(pg_get_indexdef(i.indexrelid), ' INDEX \S+ ON ', ' INDEX ON ')
                        || case when i.indisvalid then '' else ' INVALID' end
from pg_index i join relations r on r.oid = i.indrelid
union all
select 'trigger', r.name, concat_ws(' ', pg_get_triggerdef(t.oid), t.tgenabled)
from pg_trigger t join relations r on r.oid = t.tgrelid where not t.tgisinternal
union all
select 'policy', r.name, concat_ws(' ', p.polcmd, p.polpermissive, p.polroles::regrole[], pg_get_expr(p.polqual, p.polrelid),
                                   pg_get_expr(p.polwithcheck, p.polrelid))
from pg_policy p join relations r on r.oid = p.polrelid
union all
select 'view', r.name, pg_get_viewdef(r.oid) from relations r where r.relkind = 'v'
union all
select 'function', p.oid::regprocedure::text, concat_ws(' ', p.proowner::regrole, pg_get_functiondef(p.oid))
from pg_proc p join mine m on m.oid = p.pronamespace
union all
select 'grant on ' || g.kind, g.name,
       concat_ws(' ', case when a.grantee = 0 then 'PUBLIC' else a.grantee::regrole::text end, a.privilege_type,
                 a.is_grantable)
from grants g, lateral aclexplode(g.acl) a
union all
select 'schema', n.nspname, n.nspowner::regrole::text from pg_namespace n where n.nspname = 'router'
