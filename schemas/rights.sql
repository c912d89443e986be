-- Who may do what, put in force again by every migration, since roles may have been added, and a dump may have been restored
-- without roles, owners or rights. From the outside inwards:
--   anon, authenticated    may call the public API, unless `migrate --no-public-api` was run, and so may the owner of the tables;
--   webhook_router_service may call the gates of the service (router.grant_service has the list), where that was asked for;
--   webhook_router_api     owns the public API, cannot log in, has no right on any table, may call the gates it wraps;
--   owner of the tables    owns "router": its functions write with the owner's rights, as which the application's triggers
--                          have always run.
-- Nothing of ours is granted to PUBLIC, nor to those to whom default privileges open what is new. What was granted once and
-- taken back by somebody is not granted again. Rights on the public API that the application has given to other roles stay,
-- and what the application keeps in "router" is left alone.
-- writes: the catalogue; router.installation, which remembers what a dump without rights would lose

do $rights$
declare
    v_steps    text[];
    v_step     text;
    v_previous text[];
    v_api      constant regrole := 'webhook_router_api'::regrole;
    -- Only a superuser can give a function to a role that may not create in its schema.
    v_may_not  constant boolean := not (select r.rolsuper from pg_roles r where r.rolname = current_user)
                                   and not has_schema_privilege(v_api, 'public', 'create');
    v_lent     boolean := false;
begin
    insert into router.installation ("only") values (true) on conflict do nothing;
    loop
        select array_agg(d.statement order by d.position, d.object, d.what) into v_steps
        from (
/* differences */
        ) d
        where d.statement is not null;
        exit when v_steps is null;
        -- A step may show what was behind it, such as the rights of an owner who is not one any more.
        if v_steps = v_previous then
            raise exception 'these rights do not come into force: %', array_to_string(v_steps, '; ');
        end if;
        if v_may_not and not v_lent and array_to_string(v_steps, ';') ~ 'owner to webhook_router_api' then
            grant create on schema public to webhook_router_api;
            v_lent := true;
        end if;
        foreach v_step in array v_steps loop
            execute v_step;
        end loop;
        v_previous := v_steps;
    end loop;
    if v_lent then
        revoke create on schema public from webhook_router_api;
    end if;

    -- A role that does not exist now, and is made later, is asked about anew.
    update router.installation i
    set service = d.service, callers = d.callers, made = d.made
    from (
        select case when to_regrole('webhook_router_service') is null then p.service else s.is_granted end as service,
               array(select r.rolname::text
                     from pg_roles r
                     where r.rolname in ('anon', 'authenticated') or r.rolname = 'webhook_router_service' and s.is_granted
                     order by 1) as callers,
               array(select c.relname::text
                     from pg_class c
                     where c.relnamespace = 'public'::regnamespace and c.relkind = 'r'
                       and obj_description(c.oid, 'pg_class') in ('made by webhook-router',
                                                                  'made by webhook-router; no readers yet')
                     order by 1) as made
        from router.installation p
        cross join (
            select exists (select from pg_namespace n, aclexplode(n.nspacl) a
                           where n.nspname = 'router' and a.grantee = to_regrole('webhook_router_service')::oid) as is_granted
        ) s
    ) d
    where (i.service, i.callers, i.made) is distinct from (d.service, d.callers, d.made);
end
$rights$;
