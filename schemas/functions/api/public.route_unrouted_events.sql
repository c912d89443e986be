-- public.route_unrouted_events: routes the oldest unrouted events, see router.route_oldest.
-- returns: how many were handled, without those parked or held
create or replace function public.route_unrouted_events(p_channel text default null, p_limit integer default 100)
returns integer
language sql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $function$
    select (b.batch).claimed - (b.batch).parked - (b.batch).held
    from (select router.route_oldest(p_channel, p_limit, p_shared => true) as batch offset 0) b
$function$;
