-- public.ingest_instagram_webhook: stores the text messages of an Instagram webhook body, see router.ingest_instagram.
create or replace function public.ingest_instagram_webhook(p_body jsonb)
returns integer
language sql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $function$
    select router.ingest_instagram(p_body)
$function$;
