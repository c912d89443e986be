-- The group role of the service: what `webhook-router run` needs and nothing else, no right on any table. It cannot log in:
-- make a login that is a member, and give that one's URL to the service:
--   create role my_service login password '…' in role webhook_router_service;
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

do $rights$
declare
    v_function regprocedure;
begin
    if to_regproc('router.route_batch') is null then
        return;  -- not migrated yet; the migration will give the rights
    end if;
    grant usage on schema router to webhook_router_service;
    -- The same list stands in schemas/rights.sql.
    foreach v_function in array array[
        'router.route_batch(integer,timestamptz,uuid,timestamptz,text,integer,integer)',
        'router.route_due(text,integer)',
        'router.route_oldest(text,integer)',
        'router.next_event(boolean,timestamptz,uuid,timestamptz,integer,integer)',
        'router.route_one(uuid,boolean)',
        'router.ingest_and_route(text,text[],text[],boolean[],boolean)',
        'router.backlog()',
        'router.ingest_lines(text)',
        'router.parked(uuid[],text,text,interval,interval,text,integer)',
        'router.retry_parked(uuid[],text,text,interval,interval,text,integer)',
        'router.discard_parked(uuid[],text,text,interval,interval,text,integer)',
        'router.status()'
    ]::regprocedure[] loop
        execute format('grant execute on function %s to webhook_router_service', v_function);
    end loop;
end
$rights$;
