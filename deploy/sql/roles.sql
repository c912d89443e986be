-- The group role of the service: it may do what `webhook-router run` needs and nothing else, and has no right on any table.
-- It cannot log in: make a login that is a member, let it connect, and give the URL of that login to the service:
--   create role my_service login password '...' in role webhook_router_service;
--   grant connect on database my_database to my_service;
-- Roles are shared by all databases of a server. So this is run in each database that has a service, and the role has rights
-- there alone; and as a login of one database has no business in another, connecting is not left to everybody any more:
-- logins that could connect so far keep that by a grant of their own. The role itself may connect to the first database of a
-- server in which this is run. In further ones its members need a grant of their own, but for those that are connected at this
-- moment; a notice says how to end it in the first one.
-- Run it before or after `webhook-router migrate`, as often as you like, as a superuser, or as the owner of database and
-- tables with the right to create roles. It calls no function of the database.

do $role$
begin
    perform pg_catalog.set_config('search_path', '', true);
    if to_regrole('webhook_router_service') is null then
        create role webhook_router_service nologin;
    end if;
exception
    when duplicate_object or unique_violation then
        null;  -- made from another database of this server at the same moment
end
$role$;

-- The rights, if the schema is there. If not, the migration grants them, which it would not do for another database's role:
-- a setting that a role without a login never uses tells it.
do $rights$
declare
    v_function regprocedure;
    v_owner    oid;
begin
    perform pg_catalog.set_config('search_path', '', true);
    v_owner := (select n.nspowner from pg_namespace n where n.nspname = 'router');
    if v_owner is not null then
        grant usage on schema router to webhook_router_service;
        -- The list of them is in the source of router.grant_service. It is read and not called, since what the owner of the
        -- schema has written there would run with a superuser's rights.
        for v_function in
            select p.oid
            from pg_proc p
            where p.pronamespace = 'router'::regnamespace and p.proowner = v_owner
              and p.oid in (select to_regprocedure(m[1])::oid
                            from pg_proc g, regexp_matches(g.prosrc, '''(router[.][a-z_]+[(][^'']*[)])''', 'g') m
                            where g.oid = to_regprocedure('router.grant_service()'))
        loop
            execute format('grant execute on function %s to webhook_router_service', v_function);
        end loop;
        return;
    end if;
    execute format('alter role webhook_router_service in database %I set application_name = ''webhook-router''',
                   current_database());
exception
    when insufficient_privilege then
        raise notice 'not granted: %. As the owner of the tables, run: webhook-router migrate --grant-service-role', sqlerrm;
end
$rights$;

do $connect$
declare
    v_login    record;
    v_database record;
    v_other    name;
begin
    perform pg_catalog.set_config('search_path', '', true);
    select d.oid, d.datname, d.datacl, d.datdba into v_database from pg_database d where d.datname = current_database();
    if v_database.datacl is not null
       and not exists (select from aclexplode(v_database.datacl) a where a.grantee = 0 and a.privilege_type = 'CONNECT') then
        return;
    end if;
    if not pg_has_role(v_database.datdba, 'usage') then
        raise notice 'every role can still connect to this database; its owner can end that: revoke connect on database % from '
                     'public', quote_ident(v_database.datname);
        return;
    end if;
    for v_login in
        select r.rolname
        from pg_roles r
        where r.rolcanlogin and not r.rolsuper and r.oid <> v_database.datdba
          and (not pg_has_role(r.oid, 'webhook_router_service', 'member')
               or exists (select from pg_stat_activity s where s.usesysid = r.oid and s.datname = v_database.datname))
          and not exists (select from aclexplode(v_database.datacl) a
                          where a.grantee <> 0 and a.privilege_type = 'CONNECT' and pg_has_role(r.oid, a.grantee, 'usage'))
        order by r.rolname
    loop
        execute format('grant connect on database %I to %I', v_database.datname, v_login.rolname);
        raise notice 'can still connect to this database: %', quote_ident(v_login.rolname);
    end loop;
    execute format('revoke connect on database %I from public', v_database.datname);

    v_other := (select min(d.datname)
                from pg_database d, aclexplode(d.datacl) a
                where d.oid <> v_database.oid and a.grantee = to_regrole('webhook_router_service')::oid
                  and a.privilege_type = 'CONNECT');
    if v_other is null then
        execute format('grant connect on database %I to webhook_router_service', v_database.datname);
    else
        raise notice 'grant connect on database % to the login of its service. That login can connect to % as well until that '
                     'database''s own login has such a grant, and: revoke connect on database % from webhook_router_service',
                     quote_ident(v_database.datname), quote_ident(v_other), quote_ident(v_other);
    end if;
end
$connect$;
