-- router.told_deliveries: what is to be stored of deliveries, once it is known what became of them. Inlined, since it has no
-- settings of its own.
-- takes: as router.store_deliveries
-- returns: a row a delivery, in any order, but for partial ones, whose rows stay as they are; is_of_deleted: it may hold the
--   text of a message that its author has deleted
-- reads: router.deleted_messages by key
create or replace function router.told_deliveries(
    p_deliveries jsonb, p_store_only boolean, p_refused integer[], p_codes text[], p_reasons text[]
)
returns table (
    place bigint, id bigint, provider text, account text, received_at timestamptz, is_compressed boolean, digest text,
    version integer, kinds jsonb, has_unknown boolean, subjects bigint[], error text, processed_at timestamptz,
    is_of_deleted boolean
)
language sql
stable
as $function$
    select j.place, d.id, d.provider, d.account, d.received_at, coalesce(d.compressed, false), d.digest, d.version, d.kinds,
           coalesce(d.unknown, false), d.subjects, e.error,
           case when not p_store_only and e.error is null then pg_catalog.now() end,
           exists (select from pg_catalog.unnest(d.subjects) as s (subject)
                   cross join lateral (
                       select from router.deleted_messages m
                       where m.subject operator(pg_catalog.>=) s.subject and m.subject operator(pg_catalog.<=) s.subject
                       order by m.subject
                       limit 1
                   ) m)
    from pg_catalog.jsonb_array_elements(p_deliveries) with ordinality as j (value, place)
    cross join lateral pg_catalog.jsonb_to_record(j.value) as d (
        id bigint, provider text, account text, received_at timestamptz, compressed boolean, digest text, version integer,
        kinds jsonb, unknown boolean, subjects bigint[], error text, partial boolean)
    cross join lateral (
        select coalesce(d.error, (
            select pg_catalog.left(pg_catalog.string_agg(
                       pg_catalog.concat(p_codes[f.number], ': ', p_reasons[f.number]), '; ' order by f.number), 1000)
            from pg_catalog.unnest(p_refused) with ordinality as f (delivery, number)
            where f.delivery operator(pg_catalog.=) (j.place operator(pg_catalog.-) 1))) as error
    ) e
    where d.partial is not true
$function$;
