-- Opens the transaction that applies the functions. Only the owner of a function may replace it, and those of the public
-- API belong to webhook_router_api: the migrating role becomes a member. A superuser needs no membership.

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
