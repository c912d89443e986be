-- router.parked_contents: the contents and authors of parked events.
create or replace function router.parked_contents(p_ids uuid[])
returns table (id uuid, author_id text, author_name text, content text, post_id text, raw_payload jsonb)
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $function$
begin
    return query
    select w.id, w.author_id::text, w.author_name::text, w.content::text, w.post_id::text, w.raw_payload
    from public.webhook_events w
    where w.id = any (p_ids) and w.routed_at is null and w.parked_until is not null;
end
$function$;
