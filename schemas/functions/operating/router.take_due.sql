-- router.take_due: finds routed events that have been kept for long enough, in the order of their routing, and locks those
-- that may go. Events that are parked, dead or not routed are none of them, nor those that another session is writing, which
-- the next round finds.
-- takes: p_kind, p_keep, p_limit, p_place: see router.prune; p_lines: return each event as a line of an archive as well, see
--   router.archive_line, and stop at 16 MiB; p_dry_run: lock nothing
-- returns: ids, in the order of routing; routed: when each of them was; lines; bytes: what goes with them, about; place: where the
--   next step goes on, null: there is nothing else; reached: the place behind all that was looked at, null once something was
--   left out that another session is writing; busy: another session prunes, and nothing was looked at
-- raises: invalid_parameter_value; object_not_in_prerequisite_state if no index leads with routed_at, row level security
--   hides rows, or a foreign key would take more along, see router.refuse_cascades
-- reads: webhook_events by an index on routed_at, or by place if more events bear one time than can be skipped at each step
-- locks: 'retention', to the end of the transaction; the events
create or replace function router.take_due(
    p_kind text, p_keep interval, p_limit integer default 1000, p_place jsonb default null, p_lines boolean default false,
    p_dry_run boolean default false,
    out ids uuid[], out routed timestamptz[], out lines text[], out bytes bigint, out place jsonb, out reached jsonb,
    out busy boolean
)
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $function$
declare
    v_before constant timestamptz := now() - p_keep;
    v_most   constant bigint := 16 * 1024 * 1024;
    v_many   constant integer := 10 * least(greatest(p_limit, 1), 10000);
    v_at     timestamptz;  -- events that were routed before this are done with, and those that were at this very moment
    v_id     uuid;  -- only those up to this one, in the order of ids
    v_tid    tid;  -- or up to this one, in the order of the table
    v_end    tid;
    v_first  timestamptz;
    v_last   timestamptz;
    v_found  uuid[];
    v_ats    timestamptz[];
    v_tids   tid[];
    v_sizes  bigint[];
    v_kept   integer;
    v_held   boolean;
begin
    if p_kind is null or p_kind not in ('events', 'payloads') then
        raise exception 'p_kind is ''events'' or ''payloads''' using errcode = 'invalid_parameter_value';
    end if;
    -- Months have no length of their own: '1 month -29 days' may end in the future.
    if p_keep is null or p_keep < interval '1 hour' or v_before > now() - interval '1 hour' then
        raise exception 'p_keep is less than an hour' using errcode = 'invalid_parameter_value';
    end if;
    p_limit := least(greatest(p_limit, 1), 10000);
    ids := '{}';
    routed := '{}';
    lines := '{}';
    bytes := 0;
    busy := not p_dry_run and not pg_try_advisory_xact_lock(1920298107, 0);  -- lock: retention
    if busy then
        place := p_place;
        return;
    end if;
    if not exists (
        select
        from pg_index i
        join pg_class x on x.oid = i.indexrelid
        join pg_am m on m.oid = x.relam
        join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
        where i.indrelid = 'public.webhook_events'::regclass and a.attname = 'routed_at' and m.amname = 'btree'
          and i.indisvalid and i.indpred is null
    ) then
        raise exception 'no index of public.webhook_events leads with routed_at'
            using errcode = 'object_not_in_prerequisite_state', table = 'webhook_events', column = 'routed_at',
                  hint = 'create index concurrently on public.webhook_events (routed_at);';
    end if;
    perform router.refuse_hidden('{webhook_events}', case p_kind when 'events' then '{r,d}' else '{r,w}' end::text[]);
    if p_kind = 'events' then
        perform router.refuse_cascades();
    end if;

    if p_place is null and p_kind = 'payloads' then
        p_place := (select i.payloads_pruned from router.installation i);
    end if;
    v_at := coalesce((p_place ->> 'at')::timestamptz, '-infinity');
    v_id := (p_place ->> 'id')::uuid;
    v_tid := (p_place ->> 'tid')::tid;
    if v_id is null and v_tid is null then
        select min(w.routed_at), max(w.routed_at) filter (where w.number > p_limit)
        into v_first, v_last
        from (
            select w.routed_at, row_number() over (order by w.routed_at) as number
            from (
                select w.routed_at
                from public.webhook_events w
                where w.routed_at > v_at and w.routed_at < v_before
                order by w.routed_at
                limit p_limit + 1
            ) w
        ) w;
        if v_first = v_last then
            -- So many events bear one time, since somebody has marked them all at once. A place among them is that of an id,
            -- which costs a look at all of them; where they are far too many for that, it is a place in the table.
            v_at := v_first;
            if (select count(*) > v_many
                from (
                    select
                    from public.webhook_events w
                    where w.routed_at >= v_at and w.routed_at <= v_at
                    order by w.routed_at
                    limit v_many + 1
                ) w) then
                v_tid := '(0,0)';
            else
                v_id := '00000000-0000-0000-0000-000000000000';
            end if;
        end if;
    end if;
    if v_tid is not null then
        v_end := format('(%s,0)', least((v_tid::text::point)[0]::bigint + greatest(p_limit / 4, 64), 4294967294))::tid;
        select f.ids, f.tids, array_fill(v_at, array[cardinality(f.ids)])
        into v_found, v_tids, v_ats
        from router.due_by_place(v_at, v_tid, v_end, p_limit) f;
        place := case
            when cardinality(v_found) = p_limit then jsonb_build_object('at', v_at, 'tid', v_tids[p_limit]::text)
            when (v_end::text::point)[0]::bigint
                 < pg_relation_size('public.webhook_events') / current_setting('block_size')::bigint
                then jsonb_build_object('at', v_at, 'tid', v_end::text)
            else jsonb_build_object('at', v_at)
        end;
    elsif v_id is not null then
        v_found := array(
            select w.id
            from (
                select w.id
                from public.webhook_events w
                where w.routed_at >= v_at and w.routed_at <= v_at
                order by w.routed_at
                limit 2 * v_many  -- others may have come to bear it since
            ) w
            where w.id > v_id
            order by w.id
            limit p_limit
        );
        v_ats := array_fill(v_at, array[cardinality(v_found)]);
        place := case
            when cardinality(v_found) = p_limit then jsonb_build_object('at', v_at, 'id', v_found[p_limit])
            else jsonb_build_object('at', v_at)
        end;
    else
        -- But for the last time, which more events may bear than there is room for.
        select coalesce(array_agg(w.id order by w.routed_at, w.id), '{}'),
               coalesce(array_agg(w.routed_at order by w.routed_at, w.id), '{}')
        into v_found, v_ats
        from (
            select w.id, w.routed_at
            from public.webhook_events w
            where w.routed_at > v_at and w.routed_at < coalesce(v_last, v_before)
            order by w.routed_at
            limit p_limit
        ) w;
        if v_last is not null then
            place := jsonb_build_object('at', v_ats[cardinality(v_ats)]);
        end if;
    end if;

    select coalesce(array_agg(f.id order by f.ord), '{}'), coalesce(array_agg(f.routed_at order by f.ord), '{}'),
           coalesce(array_agg(f.size order by f.ord), '{}')
    into ids, routed, v_sizes
    from (
        select f.ord, w.*
        from unnest(v_found) with ordinality f (id, ord)
        cross join lateral (
            select w.id, w.routed_at,
                   case p_kind
                       when 'payloads' then pg_column_size(w.raw_payload)
                       else 160 + octet_length(w.event_id) + coalesce(pg_column_size(w.raw_payload), 0)
                            + coalesce(pg_column_size(w.content), 0) + coalesce(pg_column_size(w.normalized), 0)
                   end::bigint as size
            from public.webhook_events w
            where w.id = f.id and w.routed_at < v_before and w.parked_until is null
              and (p_kind = 'events' or w.raw_payload <> '{}')
              and not exists (select from router.parked_events p where p.event_id = f.id)
            limit 1
            for update skip locked
        ) w
        where not p_dry_run
        union all
        select f.ord, w.*
        from unnest(v_found) with ordinality f (id, ord)
        cross join lateral (
            select w.id, w.routed_at,
                   case p_kind
                       when 'payloads' then pg_column_size(w.raw_payload)
                       else 160 + octet_length(w.event_id) + coalesce(pg_column_size(w.raw_payload), 0)
                            + coalesce(pg_column_size(w.content), 0) + coalesce(pg_column_size(w.normalized), 0)
                   end::bigint
            from public.webhook_events w
            where w.id = f.id and w.routed_at < v_before and w.parked_until is null
              and (p_kind = 'events' or w.raw_payload <> '{}')
              and not exists (select from router.parked_events p where p.event_id = f.id)
            limit 1
        ) w
        where p_dry_run
    ) f;

    -- What another session is writing is for the next round, which begins where this one has noted that it came to.
    v_held := coalesce((p_place ->> 'held')::boolean, false)
              or p_kind = 'payloads' and cardinality(ids) < cardinality(v_found) and exists (
                  select
                  from unnest(v_found) f (id)
                  cross join lateral (
                      select w.routed_at, w.raw_payload, w.parked_until
                      from public.webhook_events w
                      where w.id = f.id
                      limit 1
                  ) w
                  where f.id <> all (ids) and w.routed_at < v_before and w.parked_until is null and w.raw_payload <> '{}'
                    and not exists (select from router.parked_events p where p.event_id = f.id)
              );

    if p_lines then
        -- Payloads have up to some MiB each.
        v_kept := 0;
        while v_kept < cardinality(ids) and (v_kept = 0 or bytes + v_sizes[v_kept + 1] <= v_most) loop
            v_kept := v_kept + 1;
            bytes := bytes + v_sizes[v_kept];
        end loop;
        if v_kept < cardinality(ids) then
            place := case
                when v_tid is null then jsonb_build_object('at', routed[v_kept], 'id', ids[v_kept])
                else jsonb_build_object('at', v_at, 'tid', v_tids[array_position(v_found, ids[v_kept])]::text)
            end;
            ids := ids[: v_kept];
            routed := routed[: v_kept];
        end if;
        lines := array(
            select router.archive_line(w)
            from unnest(ids) with ordinality i (id, ord)
            cross join lateral (select w from public.webhook_events w where w.id = i.id limit 1) as l (w)
            order by i.ord
        );
    else
        bytes := coalesce((select sum(s) from unnest(v_sizes) s), 0);
    end if;
    if v_held then
        place := place || '{"held": true}';
        reached := null;
        return;
    end if;
    reached := coalesce(place, case when cardinality(v_ats) > 0 then jsonb_build_object('at', v_ats[cardinality(v_ats)]) end);
end
$function$;
