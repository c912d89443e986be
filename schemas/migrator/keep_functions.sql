-- Keeps copies of the application's functions that the transaction is about to replace: those with names and arguments of the
-- public API that do not call the private schema. One that somebody has put in the place of ours is the application's, too: its
-- text is kept, with the owner and the grants of the first.
-- writes: router.replaced_functions

insert into router.replaced_functions as r (signature, definition, owner, rights, description, extensions)
select p.oid::regprocedure::text, pg_get_functiondef(p.oid), o.rolname,
       case when p.proacl is not null then (
           select coalesce(jsonb_agg(jsonb_build_object('grantee', g.rolname, 'grantable', a.is_grantable) order by a.ordinality),
                           '[]')
           from aclexplode(p.proacl) with ordinality as a (grantor, grantee, privilege, is_grantable, ordinality)
           left join pg_roles g on g.oid = a.grantee
           where a.grantee = 0 or g.oid is not null
       ) end,
       obj_description(p.oid, 'pg_proc'),
       array(select e.extname::text
             from pg_depend d
             join pg_extension e on e.oid = d.refobjid
             where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.refclassid = 'pg_extension'::regclass
               and d.deptype = 'x'
             order by e.extname)
from (values ('ingest_webhook_event(text, text, text, text, text, text, timestamptz, text, uuid, jsonb)'),
             ('route_webhook_event(text, text)'), ('route_unrouted_events(text, integer)'), ('analyze_message_simple(uuid)'),
             ('ingest_route_analyze(text, text, text, text, text, text, timestamptz, jsonb)'),
             ('ingest_instagram_webhook(jsonb)'), ('ai_reply_template(uuid)'), ('auto_reply_stub(uuid)')
     ) as w (name)
join pg_proc p on p.oid = to_regprocedure('public.' || w.name)
join pg_roles o on o.oid = p.proowner
where p.prokind = 'f' and p.prosrc not like '%select router.%'
on conflict (signature) do update
set definition = excluded.definition, kept_at = now(),
    owner = case when r.owner is null or excluded.owner <> 'webhook_router_api' then excluded.owner else r.owner end,
    rights = case when r.owner is null or excluded.owner <> 'webhook_router_api' then excluded.rights else r.rights end,
    description = excluded.description, extensions = excluded.extensions;
