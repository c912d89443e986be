-- router.keep_waiting: puts effects into router.waiting, unless they are there. They wait for a month, statuses for a week.
-- Their ids do not tell the times of statuses: of several the earliest waits, as it is the earliest that counts.
-- takes: effects; the places of those that were refused, with the reason of each
-- returns: how many are new there
-- writes: router.waiting
-- locks: its keys, in their order
create or replace function router.keep_waiting(
    p_effects router.effect[], p_refused integer[] default '{}', p_reasons text[] default '{}'
) returns integer
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_sort = off
set enable_incremental_sort = off
set jit = off
as $function$
declare
    v_count integer;
begin
    -- "on conflict" alone would write something for each that is there.
    insert into router.waiting as w (channel, atom_id, kind, target, token, account, person, effect, received_at, expires_at,
                                attempts, error)
    select distinct on (e.channel, e.atom_id collate "C")
           e.channel, e.atom_id, e.kind, e.target, e.token, e.account, coalesce(e.canonical, e.person), router.line_of(e),
           e.received_at,
           e.received_at + case when e.kind in ('status', 'read', 'delivery') then interval '7 days' else interval '30 days'
                           end,
           (e.place = any (p_refused))::integer, p_reasons[array_position(p_refused, e.place)]
    from unnest(p_effects) e
    left join lateral (
        select (w.effect ->> 'at')::timestamptz as at, w.effect -> 'content' as content
        from router.waiting w
        where w.channel = e.channel and w.atom_id >= e.atom_id and w.atom_id <= e.atom_id
        order by w.atom_id
        limit 1
    ) w on true
    where not e.is_waiting
      and (w.content is null or (e.kind in ('status', 'read', 'delivery')
                                 and (e.at, e.content::text collate "C") < (w.at, w.content::text collate "C")))
      -- Longer ones fit into no key. No provider has such ids, and no message either.
      and octet_length(e.channel) + octet_length(e.atom_id) <= 2600
      and coalesce(octet_length(e.target), 0) + coalesce(octet_length(e.token), 0) <= 2600
      and coalesce(octet_length(coalesce(e.canonical, e.person)), 0) <= 2600
    order by e.channel, e.atom_id collate "C", e.at, e.content::text collate "C"
    on conflict (channel, atom_id) do update set effect = excluded.effect
    where w.kind in ('status', 'read', 'delivery')
      and ((excluded.effect ->> 'at')::timestamptz, (excluded.effect -> 'content')::text collate "C")
          < ((w.effect ->> 'at')::timestamptz, (w.effect -> 'content')::text collate "C");
    get diagnostics v_count = row_count;
    return v_count;
end
$function$;
