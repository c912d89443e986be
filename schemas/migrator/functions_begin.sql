-- Opens the transaction that applies functions and rights. Only the owner of a function may replace it, and those of the
-- public API belong to webhook_router_api: the migrating role becomes a member. A superuser needs no membership.

-- It owns the functions of the public API and may do nothing but call the functions of "router" that they wrap. It is made
-- by every run that does not find it: a dump of the database does not have it.
do $owner$
begin
    if to_regrole('webhook_router_api') is null then
        create role webhook_router_api nologin noinherit;
    end if;
exception
    when duplicate_object or unique_violation then
        null;  -- another database of the same server was migrated at the same moment
end
$owner$;

-- For rights.sql: those that are made now have no rights yet that anybody has decided about.
do $before$
begin
    perform set_config('webhook_router.api_before',
                       coalesce(string_agg(p.oid::text, ' '), 'none'), true)
    from pg_proc p
    where p.pronamespace = 'public'::regnamespace;
end
$before$;

do $membership$
declare
    v_me      record;
    v_is      boolean;
    v_version integer := current_setting('server_version_num')::integer;
begin
    select r.rolname, r.rolsuper into v_me from pg_roles r where r.rolname = current_user;
    v_is := pg_has_role('webhook_router_api', 'usage')
            and pg_has_role('webhook_router_api', case when v_version < 160000 then 'member' else 'set' end);
    if v_me.rolsuper or v_is then
        return;
    end if;
    if v_version < 160000 then
        execute format('grant webhook_router_api to %I', v_me.rolname);
    else
        -- Having made a role gives the right to grant it, not yet the right to use it.
        execute format('grant webhook_router_api to %I with inherit true, set true', v_me.rolname);
    end if;
end
$membership$;

-- The files may call each other in any order.
set local check_function_bodies = off;
