-- public.route_webhook_event: routes one event now, see router.route_event.
create or replace function public.route_webhook_event(p_channel text, p_event_id text)
returns jsonb
language sql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $function$
    select router.route_event(p_channel, p_event_id)
$function$;
