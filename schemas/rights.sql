-- Who may do what, put in force again by every migration, since roles may have been added. From the outside inwards:
--   anon, authenticated    may call the public API, and so may the owner of the tables;
--   webhook_router_service may call the gates of the service, see router.grant_service; deploy/sql/roles.sql makes it;
--   webhook_router_api     owns the public API, cannot log in, has no right on any table, may call the gates it wraps;
--   owner of the tables    owns "router": its functions write with the owner's rights, as which the application's triggers
--                          have always run.
-- Nothing of ours is granted to PUBLIC. Rights on the public API that the application has given to other roles stay, and
-- what the application keeps in "router" is left alone: only what router.schema_functions lists is ours.

do $rights$
declare
    v_owner    name := (select r.rolname from pg_class c join pg_roles r on r.oid = c.relowner
                        where c.oid = 'public.webhook_events'::regclass);
    v_api      constant regprocedure[] := array[
        'public.ingest_webhook_event(text,text,text,text,text,text,timestamptz,text,uuid,jsonb)',
        'public.route_webhook_event(text,text)',
        'public.route_unrouted_events(text,integer)',
        'public.analyze_message_simple(uuid)',
        'public.ingest_route_analyze(text,text,text,text,text,text,timestamptz,jsonb)',
        'public.ingest_instagram_webhook(jsonb)',
        'public.ai_reply_template(uuid)',
        'public.auto_reply_stub(uuid)'
    ];
    v_gates    constant regprocedure[] := array[
        'router.ingest_event(text,text,text,text,text,text,timestamptz,text,uuid,jsonb)',
        'router.route_event(text,text)',
        'router.route_oldest(text,integer,timestamptz,uuid,boolean)',
        'router.analyze_message(uuid)',
        'router.ingest_route_analyze(text,text,text,text,text,text,timestamptz,jsonb)',
        'router.ingest_instagram(jsonb)',
        'router.compose_reply(uuid)',
        'router.reply(uuid)'
    ];
    v_function regprocedure;
    v_relation regclass;
    v_type     regtype;
    v_role     name;
    v_was      name;
    v_callers  constant name[] := array(select r.rolname from pg_roles r where r.rolname in ('anon', 'authenticated'));
    v_super    constant boolean := (select r.rolsuper from pg_roles r where r.rolname = current_user);
    v_serves   constant boolean := to_regrole('webhook_router_service') is not null;
    v_lend     constant boolean := not has_schema_privilege('webhook_router_api', 'public', 'create');
begin
    -- Only a superuser can give a function to a role that may not create in its schema.
    if not v_super and v_lend then
        grant create on schema public to webhook_router_api;
    end if;
    foreach v_function in array v_api loop
        -- Jobs of the former owner may call it: they must be able to go on.
        v_was := (select r.rolname from pg_proc p join pg_roles r on r.oid = p.proowner
                  where p.oid = v_function and not r.rolsuper);
        execute format('alter function %s owner to webhook_router_api', v_function);
        execute format('revoke all on function %s from public', v_function);
        foreach v_role in array v_callers || v_owner || coalesce(v_was, v_owner) loop
            execute format('grant execute on function %s to %I', v_function, v_role);
        end loop;
    end loop;
    if not v_super and v_lend then
        revoke create on schema public from webhook_router_api;
    end if;

    -- The schema comes first: the new owner of what it contains needs the right to create there.
    execute format('alter schema router owner to %I', v_owner);
    for v_relation in
        select c.oid
        from pg_class c
        where c.relnamespace = 'router'::regnamespace
          and c.relname in ('schema_migrations', 'schema_functions', 'function_fingerprints', 'parked_events', 'installation',
                            'replaced_functions', 'found', 'history')
    loop
        execute format('alter table %s owner to %I', v_relation, v_owner);
        execute format('revoke all on %s from public', v_relation);
    end loop;
    for v_type in
        select t.oid
        from pg_type t
        join router.schema_functions s on replace(s.signature, '"', '') = 'type ' || t.oid::regtype::text
        where t.typnamespace = 'router'::regnamespace
    loop
        execute format('alter type %s owner to %I', v_type, v_owner);
    end loop;
    for v_function in
        select p.oid
        from pg_proc p
        join router.schema_functions s on replace(s.signature, '"', '') = p.oid::regprocedure::text
        where p.pronamespace = 'router'::regnamespace
    loop
        execute format('alter function %s owner to %I', v_function, v_owner);
        execute format('revoke all on function %s from public, webhook_router_api', v_function);
        if v_serves then
            execute format('revoke all on function %s from webhook_router_service', v_function);
        end if;
    end loop;
    grant usage on schema router to webhook_router_api;
    foreach v_function in array v_gates loop
        execute format('grant execute on function %s to webhook_router_api', v_function);
    end loop;
    if v_serves then
        perform router.grant_service();
    end if;
end
$rights$;

-- Readers of the application's inbox, once, as soon as their role exists, and only of tables that webhook-router has made:
-- who reads the others has been decided by those who made them.
do $readers$
declare
    v_table name;
begin
    if to_regrole('authenticated') is null then
        return;
    end if;
    for v_table in
        select c.relname
        from pg_class c
        where c.relnamespace = 'public'::regnamespace and c.relrowsecurity
          and obj_description(c.oid, 'pg_class') = 'made by webhook-router; no readers yet'
    loop
        execute format('grant select on public.%I to authenticated', v_table);
        execute format('create policy %I on public.%I for select to authenticated using (true)',
                       v_table || '_select_authenticated', v_table);
        execute format('comment on table public.%I is %L', v_table, 'made by webhook-router');
    end loop;
end
$readers$;
