-- router.store_deliveries: the rows of deliveries, once it is known what became of them.
-- takes: deliveries and bodies as router.take_deliveries; whether their processing is left for later; the numbers (from 0) of
--   those of which something was refused, and why; whether some of them are stored already
-- writes: router.deliveries. The body of one that is done with, or given up, and holds the text of a deleted message, is not
--   kept. One that is in effect stays as it is, unless whoever has called may read all bodies: one that is not in effect, or
--   was not understood, is handed out with its body
-- reads: router.deleted_messages by key
create or replace function router.store_deliveries(
    p_deliveries jsonb, p_bodies bytea[], p_store_only boolean, p_refused integer[], p_codes text[], p_reasons text[],
    p_again boolean
)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $function$
declare
    v_may_reopen constant boolean := p_again
        and has_function_privilege(session_user, 'router.deliveries_show(bigint)', 'execute');
begin
    insert into router.deliveries (id, provider, account, received_at, body, is_compressed, digest, version, kinds,
                                   has_unknown, subjects, processed_at, error, attempts, next_attempt_at)
    select nextval('router.delivery_ids'), t.provider, t.account, coalesce(t.received_at, now()),
           case when t.is_of_deleted and t.processed_at is not null then null else p_bodies[t.place] end, t.is_compressed,
           decode(t.digest, 'hex'), t.version, t.kinds, t.has_unknown, t.subjects, t.processed_at, t.error,
           case when p_store_only then 0 else 1 end,
           case when t.processed_at is not null then null
                when p_store_only then coalesce(t.received_at, now())
                else router.next_attempt(1) end
    from router.told_deliveries(p_deliveries, p_store_only, p_refused, p_codes, p_reasons) t
    where t.id is null;
    if p_again and not p_store_only then
        update router.deliveries d
        set version = t.version, kinds = t.kinds, has_unknown = t.has_unknown, subjects = t.subjects,
            processed_at = t.processed_at, error = t.error, attempts = greatest(d.attempts, 1),
            next_attempt_at = case when t.processed_at is null then router.next_attempt(greatest(d.attempts, 1)) end,
            body = case when t.is_of_deleted and (t.processed_at is not null or d.attempts >= 10) then null else d.body end
        from router.told_deliveries(p_deliveries, p_store_only, p_refused, p_codes, p_reasons) t
        where d.id = any (array[t.id]) and (d.processed_at is null or v_may_reopen);
    end if;
end
$function$;
