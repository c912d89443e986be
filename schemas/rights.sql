-- Who may do what, put in force again after the functions. Two steps down:
--   anon, authenticated  may call the public API;
--   webhook_router_api   owns the public API, cannot log in, has no right on any table, may call the gates in "router";
--   owner of the tables  owns "router": its functions write with the rights that the application's triggers always ran with.
-- Nothing is granted to PUBLIC.

do $rights$
declare
    v_owner    name := (select relowner::regrole::text from pg_class where oid = 'public.webhook_events'::regclass);
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
        'router.route_oldest(text,integer)',
        'router.analyze_message(uuid)',
        'router.ingest_route_analyze(text,text,text,text,text,text,timestamptz,jsonb)',
        'router.ingest_instagram(jsonb)',
        'router.compose_reply(uuid)',
        'router.reply(uuid)'
    ];
    v_function regprocedure;
    v_role     name;
    v_super    boolean := (select rolsuper from pg_roles where rolname = current_user);
begin
    -- Giving a function away takes membership in the new owner, and its right to create in the schema, unless superuser.
    if not v_super then
        execute format('grant webhook_router_api to %I', current_user);
        grant create on schema public to webhook_router_api;
    end if;
    foreach v_function in array v_api loop
        execute format('alter function %s owner to webhook_router_api', v_function);
        execute format('revoke all on function %s from public', v_function);
        foreach v_role in array array['anon', 'authenticated'] loop
            if exists (select from pg_roles where rolname = v_role) then
                execute format('grant execute on function %s to %I', v_function, v_role);
            end if;
        end loop;
    end loop;
    if not v_super then
        revoke create on schema public from webhook_router_api;
    end if;

    for v_function in select p.oid::regprocedure from pg_proc p where p.pronamespace = 'router'::regnamespace loop
        execute format('alter function %s owner to %I', v_function, v_owner);
        execute format('revoke all on function %s from public', v_function);
    end loop;
    grant usage on schema router to webhook_router_api;
    foreach v_function in array v_gates loop
        execute format('grant execute on function %s to webhook_router_api', v_function);
    end loop;
    execute format('alter table router.parked_events owner to %I', v_owner);
    execute format('grant usage on schema router to %I', v_owner);
    revoke all on all tables in schema router from public;
end
$rights$;
