-- router.deliveries_example: the latest delivery of a group that was not understood, see router.deliveries_troubled, with its
-- body as it is stored. The service masks it before anybody sees it.
-- takes: provider and kinds of the group; received since; how many of all that were not understood are looked at, the latest
--   ones; bytes of a body at most
-- returns: it; none if no body of the group is left. body: null if it is larger than that; size: its own
-- reads: router.deliveries by the index deliveries_unknown
create or replace function router.deliveries_example(
    p_provider text, p_kinds text[], p_since timestamptz, p_limit integer default 10000, p_bytes integer default 1048576
)
returns table (id bigint, received_at timestamptz, body bytea, is_compressed boolean, size integer)
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set enable_incremental_sort = off
set jit = off
as $function$
    select d.id, d.received_at, case when octet_length(d.body) <= p_bytes then d.body end, d.is_compressed, octet_length(d.body)
    from (
        select u.*
        from router.deliveries u
        where u.has_unknown and u.received_at >= p_since
        order by u.received_at desc
        limit p_limit
    ) d
    where d.provider = p_provider and d.body is not null
      and array(select k.kind from jsonb_object_keys(d.kinds) as k (kind) order by 1) = p_kinds
    limit 1
$function$;
