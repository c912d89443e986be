-- The group role of the service: it may do what `webhook-router run` needs and nothing else, and has no right on any table.
-- It cannot log in: make a login that is a member, and give the URL of that login to the service:
--   create role my_service login password '...' in role webhook_router_service;
-- Run it before or after `webhook-router migrate`, as often as you like, as a superuser, or as the owner of the tables
-- with the right to create roles.

do $role$
begin
    if to_regrole('webhook_router_service') is null then
        create role webhook_router_service nologin;
    end if;
exception
    when duplicate_object or unique_violation then
        null;  -- made from another database of this server at the same moment
end
$role$;

-- If the schema does not exist yet, the migration will grant the rights.
do $rights$
begin
    if to_regproc('router.grant_service') is not null then
        perform router.grant_service();
    end if;
end
$rights$;
