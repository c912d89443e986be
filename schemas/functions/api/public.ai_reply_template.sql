-- public.ai_reply_template: see router.compose_reply.
create or replace function public.ai_reply_template(p_message_id uuid)
returns text
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $function$
    select router.compose_reply(p_message_id)
$function$;
