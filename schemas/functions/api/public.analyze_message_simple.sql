-- public.analyze_message_simple: see router.analyze_message.
create or replace function public.analyze_message_simple(p_message_id uuid)
returns jsonb
language sql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $function$
    select router.analyze_message(p_message_id)
$function$;
