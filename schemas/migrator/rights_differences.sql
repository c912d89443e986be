-- Every deviation of owners and rights from what they should be, each with the statement that puts it right: the one list of
-- who may do what, see rights.sql. It reads the catalogue alone, no table and no function of anybody, so that a superuser
-- may run it in a database that others own. Nothing is found where there is no public.webhook_events.
-- The migrator puts what router.installation remembers in place of the line between the comments "decided", the names of our
-- files in place of "files", and the functions that router.grant_service names in place of "service".
-- returns: position (order of the statements), object, what (how it deviates), statement (null: it is for a superuser to
--          decide), remedy (for people)

with decided as (
    /* decided */
    select true as public_api, null::boolean as service, null::text[] as callers, '{}'::text[] as made
    /* decided */
), ours (file) as (
    select unnest(array[/* files */]::text[])
), wanted_api (signature) as (
    values ('public.ingest_webhook_event(text,text,text,text,text,text,timestamptz,text,uuid,jsonb)'),
           ('public.route_webhook_event(text,text)'),
           ('public.route_unrouted_events(text,integer)'),
           ('public.analyze_message_simple(uuid)'),
           ('public.ingest_route_analyze(text,text,text,text,text,text,timestamptz,jsonb)'),
           ('public.ingest_instagram_webhook(jsonb)'),
           ('public.ai_reply_template(uuid)'),
           ('public.auto_reply_stub(uuid)')
), gates (signature) as (
    values ('router.ingest_event(text,text,text,text,text,text,timestamptz,text,uuid,jsonb)'),
           ('router.route_event(text,text)'),
           ('router.route_oldest(text,integer,timestamptz,uuid,boolean)'),
           ('router.analyze_message(uuid)'),
           ('router.ingest_route_analyze(text,text,text,text,text,text,timestamptz,jsonb)'),
           ('router.ingest_instagram(jsonb)'),
           ('router.compose_reply(uuid)'),
           ('router.reply(uuid)')
), service_functions (signature) as (
    select unnest(array[/* service */]::text[])
), wanted_relations (name) as (
    values ('schema_migrations'), ('schema_functions'), ('parked_events'), ('installation'), ('replaced_functions'),
           ('found'), ('history'), ('deliveries'), ('deliveries_default'), ('delivery_ids'), ('waiting'), ('watermarks'),
           ('referrals'), ('silent_edits'), ('open_replies'), ('deleted_messages'), ('kafka_positions'),
           ('erasures')
), own as (
    select e.relowner as owner, to_regrole('webhook_router_api')::oid as api, to_regrole('webhook_router_service')::oid as service
    from pg_class e
    where e.oid = to_regclass('public.webhook_events') and e.relkind = 'r'
), router as (
    select n.oid, n.nspowner, n.nspacl,
           -- Neither new nor restored without its rights: what is missing there has been taken back by somebody.
           n.nspowner = own.owner
           and exists (select from aclexplode(n.nspacl) a where a.grantee = own.api and a.privilege_type = 'USAGE') as as_left
    from own
    join pg_namespace n on n.nspname = 'router'
), asked as (
    -- The service's role may be another database's: it gets rights here when that was asked for. roles.sql leaves a mark,
    -- since it may be run before there is a schema.
    select own.service is not null
           and (exists (select from router r, aclexplode(r.nspacl) a
                        where a.grantee = own.service and a.privilege_type = 'USAGE')
                -- Decided when there was no such role, or before it was dropped.
                or coalesce(d.service and 'webhook_router_service' <> all (d.callers), false)
                or not coalesce((select r.as_left from router r), false)
                   and (coalesce(d.service, false)
                        or exists (select from pg_db_role_setting s
                                   join pg_database b on b.oid = s.setdatabase and b.datname = current_database()
                                   where s.setrole = own.service
                                     and 'application_name=webhook-router' = any (s.setconfig)))) as service
    from own
    cross join decided d
), neighbours as (
    -- Whether the application keeps something of its own in "router": then who may look into it is its decision.
    select exists (select from pg_class c
                   where c.relnamespace = r.oid and c.relkind in ('r', 'p', 'v', 'm', 'S', 'f')
                     and c.relname not in (select w.name from wanted_relations w)
                     and not (c.relispartition and c.relname ~ '^deliveries_[0-9]{8}$'))
           or exists (select from pg_proc p
                      where p.pronamespace = r.oid and format('router.%s.sql', p.proname) not in (select o.file from ours o))
           or exists (select from pg_type t
                      where t.typnamespace = r.oid and t.typtype in ('e', 'd', 'r')) as there
    from router r
), by_default as (
    -- To whom new objects are opened without being asked.
    select distinct d.defaclobjtype as kind, a.grantee
    from pg_default_acl d
    cross join lateral aclexplode(d.defaclacl) a
    where d.defaclnamespace in (0, 'public'::regnamespace, coalesce(to_regnamespace('router')::oid, 0))
      and a.grantee not in (0, d.defaclrole)
), objects (position, kind, word, oid, name, is_owned_by, wants, acl) as (
    select 10, 'schema', 'schema', r.oid, 'router', r.nspowner, own.owner, coalesce(r.nspacl, acldefault('n', r.nspowner))
    from router r
    cross join own
    union all
    select 20, k.word, case c.relkind when 'S' then 'sequence' else 'table' end, c.oid, format('router.%I', c.relname), c.relowner,
           own.owner, coalesce(c.relacl, acldefault(k.acl, c.relowner))
    from router r
    cross join own
    join pg_class c on c.relnamespace = r.oid
                   and (exists (select from wanted_relations w where w.name = c.relname)
                        or c.relispartition and c.relname ~ '^deliveries_[0-9]{8}$')
    join (values ('r', 'table', 'r'::"char"), ('p', 'table', 'r'), ('S', 'sequence', 's'), ('v', 'view', 'r')) as k (kind, word, acl)
      on k.kind = c.relkind::text
    union all
    select 20, 'type', 'type', t.oid, format('router.%I', t.typname), t.typowner, own.owner,
           coalesce(t.typacl, acldefault('T', t.typowner))
    from router r
    cross join own
    join pg_type t on t.typnamespace = r.oid
    join pg_class c on c.oid = t.typrelid and c.relkind = 'c'
    join ours o on o.file = format('router.%s.sql', t.typname)
    union all
    select 20, 'function', 'function', p.oid, p.oid::regprocedure::text, p.proowner, own.owner,
           coalesce(p.proacl, acldefault('f', p.proowner))
    from router r
    cross join own
    join pg_proc p on p.pronamespace = r.oid and p.prokind = 'f'
    join ours o on o.file = format('router.%s.sql', p.proname)
), allowed (kind, oid, grantee, privilege) as (
    select 'schema', r.oid, own.api, 'USAGE' from router r cross join own where own.api is not null
    union all
    select 'schema', r.oid, own.service, 'USAGE' from router r cross join own cross join asked where asked.service
    union all
    select 'function', to_regprocedure(g.signature)::oid, own.api, 'EXECUTE'
    from gates g
    cross join own
    where to_regprocedure(g.signature) is not null and own.api is not null
    union all
    select 'function', to_regprocedure(s.signature)::oid, own.service, 'EXECUTE'
    from service_functions s
    cross join own
    cross join asked
    where to_regprocedure(s.signature) is not null and asked.service
), tolerated (kind, oid, grantee, privilege) as (
    select * from allowed
    union all
    select 'type', o.oid, 0, 'USAGE' from objects o where o.kind = 'type'  -- without the schema it is of no use
    union all
    select 'schema', r.oid, a.grantee, 'USAGE'
    from router r
    cross join neighbours
    cross join lateral aclexplode(r.nspacl) a
    where neighbours.there and a.privilege_type = 'USAGE'
      and a.grantee is distinct from to_regrole('webhook_router_service')::oid
      and a.grantee not in (select b.grantee from by_default b where b.kind = 'n')
), held (position, kind, word, oid, name, grantee, privilege) as (
    select o.position, o.kind, o.word, o.oid, o.name, a.grantee, a.privilege_type
    from objects o
    cross join lateral aclexplode(o.acl) a
    where a.grantee not in (o.is_owned_by, o.wants)
    union
    select o.position, o.kind, o.word, o.oid, o.name, a.grantee, a.privilege_type
    from objects o
    join pg_attribute c on c.attrelid = o.oid and not c.attisdropped
    cross join lateral aclexplode(c.attacl) a
    where o.word = 'table' and a.grantee not in (o.is_owned_by, o.wants)
), api_functions as (
    select p.oid, p.oid::regprocedure::text as name, p.proowner, f.acl,
           -- Neither made now nor restored without its rights: what is missing has been taken back by somebody.
           p.proowner is not distinct from own.api and p.proacl is not null
           and not exists (select from aclexplode(p.proacl) a where a.grantee = 0)
           and exists (select from aclexplode(p.proacl) a where a.grantee <> p.proowner) as as_left,
           exists (select from aclexplode(f.acl) a where a.grantee = 0) as is_open,
           -- functions_begin.sql notes which were there before it made any.
           p.oid::text <> all (string_to_array(coalesce(nullif(current_setting('webhook_router.api_before', true), ''),
                                                        p.oid::text), ' ')) as is_new
    from own
    join wanted_api w on true
    join pg_proc p on p.oid = to_regprocedure(w.signature)
    cross join lateral (select coalesce(p.proacl, acldefault('f', p.proowner)) as acl) f
), callers as (
    select r.oid, r.rolname from pg_roles r where r.rolname in ('anon', 'authenticated')
), api_wanted (oid, grantee) as (
    select f.oid, own.owner from api_functions f cross join own
    union
    -- Jobs of the former owner may call it: they must be able to go on.
    select f.oid, f.proowner
    from api_functions f
    join pg_roles r on r.oid = f.proowner and not r.rolsuper
    cross join own
    where not f.as_left and not f.is_new and f.proowner is distinct from own.api
    union
    select f.oid, c.oid
    from api_functions f
    cross join callers c
    cross join decided d
    where d.public_api and (not f.as_left or c.rolname <> all (d.callers))
    union
    select f.oid, r.oid
    from api_functions f
    join pg_roles r on r.rolname = 'service_role'
    where not f.as_left and not f.is_new
      and exists (select from aclexplode(f.acl) a where a.grantee in (0, r.oid))
), api_lost (oid, roles) as (
    -- Who could call it because everybody could.
    select f.oid, string_agg(quote_ident(r.rolname), ', ' order by r.rolname)
    from api_functions f
    cross join own
    join pg_roles r on not r.rolsuper and r.rolname !~ '^(pg_|webhook_router_)' and r.oid <> f.proowner
    where f.is_open and has_schema_privilege(r.oid, 'public', 'usage')
      and not exists (select from api_wanted w where w.oid = f.oid and pg_has_role(r.oid, w.grantee, 'usage'))
      and not exists (select from aclexplode(f.acl) a
                      where a.grantee <> 0 and a.grantee <> f.proowner and pg_has_role(r.oid, a.grantee, 'usage'))
      and not (r.rolname in ('anon', 'authenticated') and not (select d.public_api from decided d))
    group by f.oid
), api_taken (oid, grantee) as (
    select f.oid, 0 from api_functions f where f.is_open
    union
    select f.oid, a.grantee
    from api_functions f
    cross join own
    cross join decided d
    cross join lateral aclexplode(f.acl) a
    join pg_roles r on r.oid = a.grantee
    where a.grantee <> f.proowner and a.grantee is distinct from own.api
      and (r.rolname in ('anon', 'authenticated') and not d.public_api
           or r.rolname not in ('anon', 'authenticated', 'service_role')
              and (f.is_new or exists (select from by_default b where b.kind = 'f' and b.grantee = a.grantee))
              and not exists (select from api_wanted w where w.oid = f.oid and w.grantee = a.grantee))
), inbox (name, is_secured, constraint_name) as (
    values ('contacts', false, 'contact_channels_channel_external_id_key'),
           ('contact_channels', false, 'contact_channels_channel_external_id_key'),
           ('conversations', true, 'conversations_status_check'),
           ('messages', true, 'messages_direction_check'),
           ('message_analysis', true, 'message_analysis_sentiment_check'),
           ('webhook_events', true, 'webhook_events_type_check'),
           ('message_delivery', true, 'message_delivery_status_check'),
           ('message_reactions', true, 'message_reactions_message_id_fkey'),
           ('message_revisions', true, 'message_revisions_message_id_fkey')
), made as (
    -- The tables that webhook-router has made: they bear a comment, and a dump may have been made without comments.
    select c.oid, i.name, i.is_secured, c.relrowsecurity, c.relowner, c.relacl, m.comment,
           c.relacl is null or exists (
               -- As default privileges leave a new table, apart from what migrations grant: its rights were not restored.
               select
               from pg_default_acl d
               cross join lateral (
                   select array_agg(distinct format('%s %s', a.grantee, a.privilege_type)
                                    order by format('%s %s', a.grantee, a.privilege_type)) as given
                   from pg_default_acl e
                   cross join lateral aclexplode(e.defaclacl) a
                   where e.defaclobjtype = 'r' and e.defaclrole = d.defaclrole
                     and e.defaclnamespace in (0, 'public'::regnamespace)
                     and a.grantee not in (e.defaclrole, c.relowner, s.server)
                     and not (a.grantee = s.reader and a.privilege_type = 'SELECT')
               ) by_default
               where d.defaclobjtype = 'r'
                 and by_default.given = (select array_agg(distinct format('%s %s', a.grantee, a.privilege_type)
                                                          order by format('%s %s', a.grantee, a.privilege_type))
                                         from aclexplode(c.relacl) a
                                         where a.grantee not in (c.relowner, s.server)
                                           and not (a.grantee = s.reader and a.privilege_type = 'SELECT'))
           ) as is_untouched
    from inbox i
    join pg_class c on c.oid = to_regclass('public.' || i.name) and c.relkind = 'r'
    cross join decided d
    cross join (select coalesce(to_regrole('authenticated')::oid, 0) as reader,
                       coalesce(to_regrole('service_role')::oid, 0) as server) s
    cross join lateral (select obj_description(c.oid, 'pg_class') as comment) m
    where m.comment in ('made by webhook-router', 'made by webhook-router; no readers yet')
       or m.comment is null and i.name = any (d.made)
          and exists (select from pg_constraint k where k.conname = i.constraint_name)
), readers as (
    select m.*, to_regrole('authenticated') is not null as is_there,
           m.is_secured and (m.is_untouched or m.comment like '%; no readers yet') as are_due
    from made m
), attributes (role, wrong, remedy) as (
    select r.rolname,
           concat_ws(', ', case when r.rolcanlogin then 'can log in' end, case when r.rolsuper then 'is a superuser' end,
                     case when r.rolcreaterole then 'makes roles' end, case when r.rolcreatedb then 'makes databases' end,
                     case when r.rolbypassrls then 'passes row security by' end,
                     case when r.rolreplication then 'replicates' end),
           format('alter role %I nologin nosuperuser nocreaterole nocreatedb nobypassrls noreplication;', r.rolname)
    from pg_roles r
    cross join own
    where r.oid in (own.api, own.service)
)

select 0 as position, 'role webhook_router_api' as object, 'is missing' as what, null as statement,
       'webhook-router migrate' as remedy
from own
cross join router
where own.api is null

union all
select 0, 'role ' || a.role, a.wrong, null, a.remedy
from attributes a
where a.wrong <> ''

union all
select 0, 'role ' || r.rolname, 'has the rights of ' || m.roleid::regrole, null,
       format('revoke %s from %I;', m.roleid::regrole, r.rolname)
from own
join pg_roles r on r.oid = own.api
join pg_auth_members m on m.member = r.oid

union all
select o.position, o.kind || ' ' || o.name,
       format('belongs to %s instead of %s', o.is_owned_by::regrole, o.wants::regrole),
       format('alter %s %s owner to %s', o.word, o.name, o.wants::regrole), 'webhook-router migrate'
from objects o
where o.is_owned_by <> o.wants

union all
select 30, 'function ' || f.name,
       format('belongs to %s instead of webhook_router_api', f.proowner::regrole),
       format('alter function %s owner to webhook_router_api', f.name)
       || case when exists (select from api_wanted w where w.oid = f.oid and w.grantee = f.proowner)
               then format('; grant execute on function %s to %s', f.name, f.proowner::regrole) else '' end,
       'webhook-router migrate'
from api_functions f
cross join own
where f.proowner is distinct from own.api
  and exists (select from router)  -- before the first run it is a function of the application, which will be replaced

union all
select 40, 'function ' || f.name,
       case when t.grantee <> 0 then format('can be called by %s', t.grantee::regrole)
            else 'can be called by everybody (PUBLIC)'
                 || coalesce(format('; migrate ends that, also for %s, unless EXECUTE is granted to them', l.roles), '') end,
       format('revoke all on function %s from %s cascade', f.name,
              case t.grantee when 0 then 'public' else t.grantee::regrole::text end),
       'webhook-router migrate'
from api_taken t
join api_functions f on f.oid = t.oid
left join api_lost l on l.oid = f.oid and t.grantee = 0

union all
select 41, 'function ' || f.name, format('cannot be called by %s', w.grantee::regrole),
       format('grant execute on function %s to %s', f.name, w.grantee::regrole), 'webhook-router migrate'
from api_wanted w
join api_functions f on f.oid = w.oid
where not exists (select from aclexplode(f.acl) a where a.grantee = w.grantee)
  and exists (select from router)

union all
select h.position + 30, h.kind || ' ' || h.name,
       format('gives %s the right %s', case h.grantee when 0 then 'everybody (PUBLIC)' else h.grantee::regrole::text end,
              string_agg(distinct h.privilege, ', ')),
       format('revoke all on %s %s from %s cascade', h.word, h.name,
              case h.grantee when 0 then 'public' else h.grantee::regrole::text end)
       || coalesce((select string_agg(format('; grant %s on %s %s to %s', t.privilege, h.word, h.name,
                                             case t.grantee when 0 then 'public' else t.grantee::regrole::text end), '')
                    from tolerated t
                    where t.kind = h.kind and t.oid = h.oid and t.grantee = h.grantee), ''),
       'webhook-router migrate'
from held h
where not exists (select from tolerated t
                  where t.kind = h.kind and t.oid = h.oid and t.grantee = h.grantee and t.privilege = h.privilege)
group by h.position, h.kind, h.word, h.oid, h.name, h.grantee

union all
select o.position + 31, o.kind || ' ' || o.name, format('does not give %s the right %s', a.grantee::regrole, a.privilege),
       format('grant %s on %s %s to %s', a.privilege, o.word, o.name, a.grantee::regrole), 'webhook-router migrate'
from allowed a
join objects o on o.kind = a.kind and o.oid = a.oid
where not exists (select from held h
                  where h.kind = a.kind and h.oid = a.oid and h.grantee = a.grantee and h.privilege = a.privilege)

union all
select 80, 'table public.' || m.name, 'has row security switched off',
       format('alter table public.%I enable row level security', m.name), 'webhook-router migrate'
from made m
where m.is_secured and not m.relrowsecurity

union all
select 81, 'table public.' || m.name,
       format('gives %s the right %s', case a.grantee when 0 then 'everybody (PUBLIC)' else a.grantee::regrole::text end,
              string_agg(a.privilege_type, ', ' order by a.privilege_type)),
       format('revoke all on public.%I from %s', m.name, case a.grantee when 0 then 'public' else a.grantee::regrole::text end),
       'webhook-router migrate'
from made m
cross join lateral aclexplode(m.relacl) a
where m.is_untouched and a.grantee not in (m.relowner, coalesce(to_regrole('service_role')::oid, m.relowner))
group by m.oid, m.name, a.grantee

union all
-- Readers of the inbox, once, as soon as their role exists: who reads it later is decided by others.
select 82, 'table public.' || r.name, 'cannot be read by authenticated',
       format('grant select on public.%I to authenticated', r.name)
       || case when not exists (select from pg_policy p where p.polrelid = r.oid)
               then format('; create policy %I on public.%I for select to authenticated using (true)',
                           r.name || '_select_authenticated', r.name) else '' end
       || format('; comment on table public.%I is %L', r.name, 'made by webhook-router'),
       'webhook-router migrate'
from readers r
where r.are_due and r.is_there

union all
select 83, 'table public.' || r.name, 'does not bear the comment "made by webhook-router"',
       format('comment on table public.%I is %L', r.name,
              'made by webhook-router' || case when r.are_due then '; no readers yet' else '' end),
       'webhook-router migrate'
from readers r
where not (r.are_due and r.is_there)
  and r.comment is distinct from 'made by webhook-router' || case when r.are_due then '; no readers yet' else '' end
