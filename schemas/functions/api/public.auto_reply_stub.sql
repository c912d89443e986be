-- public.auto_reply_stub: see router.reply.
create or replace function public.auto_reply_stub(p_message_id uuid)
returns uuid
language sql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $function$
    select router.reply(p_message_id)
$function$;
