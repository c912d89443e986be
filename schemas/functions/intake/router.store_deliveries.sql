-- router.store_deliveries: the rows of deliveries, once it is known what became of them.
-- takes: deliveries and bodies as router.take_deliveries; whether their processing is left for later; the numbers (from 0) of
--   those of which something was refused, and why
-- writes: router.deliveries. The body of one that is done with, and holds the text of a deleted message, is not kept
-- reads: router.deleted_messages by key
create or replace function router.store_deliveries(
    p_deliveries jsonb, p_bodies bytea[], p_store_only boolean, p_refused integer[], p_codes text[], p_reasons text[]
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
begin
    with told as materialized (
        select j.place, d.id, d.provider, d.account, d.received_at, coalesce(d.compressed, false) as is_compressed, d.digest,
               d.version, d.kinds, coalesce(d.unknown, false) as has_unknown, d.subjects,
               coalesce(d.error, r.error) as error,
               case when not p_store_only and coalesce(d.error, r.error) is null then now() end as processed_at
        from jsonb_array_elements(p_deliveries) with ordinality as j (value, place)
        cross join lateral jsonb_to_record(j.value) as d (
            id bigint, provider text, account text, received_at timestamptz, compressed boolean, digest text, version integer,
            kinds jsonb, unknown boolean, subjects bigint[], error text)
        cross join lateral (
            select left(string_agg(p_codes[f.number] || ': ' || p_reasons[f.number], '; ' order by f.number), 1000) as error
            from unnest(p_refused) with ordinality as f (delivery, number)
            where f.delivery = j.place - 1
        ) r
    ), dealt as materialized (
        select t.*,
               t.processed_at is not null
               and exists (select from unnest(t.subjects) as s (subject)
                           cross join lateral (
                               select from router.deleted_messages m
                               where m.subject >= s.subject and m.subject <= s.subject
                               order by m.subject
                               limit 1
                           ) m) as is_scrubbed
        from told t
    ), again as (
        update router.deliveries d
        set version = t.version, kinds = t.kinds, has_unknown = t.has_unknown, subjects = t.subjects,
            processed_at = t.processed_at, error = t.error, attempts = greatest(d.attempts, 1),
            next_attempt_at = case when t.processed_at is null then router.next_attempt(greatest(d.attempts, 1)) end,
            body = case when not t.is_scrubbed then d.body end
        from dealt t
        where not p_store_only and d.id = any (array[t.id])
    )
    insert into router.deliveries (id, provider, account, received_at, body, is_compressed, digest, version, kinds,
                                   has_unknown, subjects, processed_at, error, attempts, next_attempt_at)
    select nextval('router.delivery_ids'), t.provider, t.account, coalesce(t.received_at, now()),
           case when not t.is_scrubbed then p_bodies[t.place] end, t.is_compressed, decode(t.digest, 'hex'), t.version,
           t.kinds, t.has_unknown, t.subjects, t.processed_at, t.error, case when p_store_only then 0 else 1 end,
           case when t.processed_at is not null then null
                when p_store_only then coalesce(t.received_at, now())
                else router.next_attempt(1) end
    from dealt t
    where t.id is null
    order by t.place;
end
$function$;
