-- router.apply_statuses: how far messages of ours have come: each time is the earliest that was told, the status the furthest,
-- the errors are those of the earliest failure. So the order in which statuses come does not matter.
-- takes: effects whose message_id is set, with "status" and "errors" in their content; one without a time tells only the
--   status; p_again: for itself
-- returns: how many messages have a row that is new or another one now
-- reads: messages, message_delivery by key
-- writes: message_delivery; nothing where a status tells no news, or of a message that is not ours
-- locks: rows of message_delivery in the order of their key, first those that are there
create or replace function router.apply_statuses(p_effects router.effect[], p_again boolean default false)
returns integer
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
    v_ranks constant text[] := array['sent', 'failed', 'delivered', 'read', 'played'];
    v_told    jsonb;  -- what there is to write
    v_missing integer;
    v_changed integer := 0;
    v_count   integer;
    v_path    text;
begin
    with told as (
        select e.message_id, max(array_position(v_ranks, e.content ->> 'status')) as rank,
               min(e.at) filter (where e.content ->> 'status' = 'sent') as sent_at,
               min(e.at) filter (where e.content ->> 'status' = 'delivered') as delivered_at,
               min(e.at) filter (where e.content ->> 'status' = 'read') as read_at,
               min(e.at) filter (where e.content ->> 'status' = 'played') as played_at,
               min(e.at) filter (where e.content ->> 'status' = 'failed') as failed_at,
               (array_agg(nullif(e.content -> 'errors', 'null') order by e.at, (e.content -> 'errors')::text collate "C")
                filter (where e.content ->> 'status' = 'failed'))[1] as errors
        from unnest(p_effects) e
        where e.content ->> 'status' = any (v_ranks)
        group by e.message_id
    )
    select jsonb_agg(to_jsonb(t) || jsonb_build_object('is_known', d.status is not null) order by t.message_id),
           count(*) filter (where d.status is null)
    into v_told, v_missing
    from told t
    cross join lateral (
        select m.id from public.messages m where m.id = t.message_id and m.direction = 'outbound' limit 1
    ) m
    left join lateral (
        select d.* from public.message_delivery d where d.message_id = t.message_id limit 1
    ) d on true
    where d.status is null
       or t.rank > array_position(v_ranks, d.status)
       or least(t.sent_at, d.sent_at) is distinct from d.sent_at
       or least(t.delivered_at, d.delivered_at) is distinct from d.delivered_at
       or least(t.read_at, d.read_at) is distinct from d.read_at
       or least(t.played_at, d.played_at) is distinct from d.played_at
       or least(t.failed_at, d.failed_at) is distinct from d.failed_at
       or (t.failed_at = d.failed_at and t.errors is not null
           and (d.errors is null or t.errors::text collate "C" < d.errors::text collate "C"));
    if v_told is null then
        return 0;
    end if;

    v_path := pg_catalog.set_config('search_path', router.application_path(), true);
    -- Read again by the update, if another session has just written it: each value is made of the latest.
    if pg_catalog.jsonb_array_length(v_told) operator(pg_catalog.>) v_missing then
        update public.message_delivery d
        set status = case when t.rank operator(pg_catalog.>) pg_catalog.array_position(v_ranks, d.status) then v_ranks[t.rank]
                          else d.status end,
            sent_at = least(d.sent_at, t.sent_at), delivered_at = least(d.delivered_at, t.delivered_at),
            read_at = least(d.read_at, t.read_at), played_at = least(d.played_at, t.played_at),
            failed_at = least(d.failed_at, t.failed_at),
            errors = case
                when t.failed_at is null or d.failed_at operator(pg_catalog.<) t.failed_at then d.errors
                when d.failed_at is null or t.failed_at operator(pg_catalog.<) d.failed_at then t.errors
                when t.errors is null
                     or d.errors::pg_catalog.text collate pg_catalog."C"
                        operator(pg_catalog.<) t.errors::pg_catalog.text collate pg_catalog."C" then d.errors
                else t.errors
            end
        from pg_catalog.jsonb_to_recordset(v_told) t (
            message_id pg_catalog.uuid, rank integer, sent_at timestamp with time zone, delivered_at timestamp with time zone,
            read_at timestamp with time zone, played_at timestamp with time zone, failed_at timestamp with time zone,
            errors pg_catalog.jsonb, is_known boolean
        )
        where t.is_known and d.message_id operator(pg_catalog.=) any (array[t.message_id]);
        get diagnostics v_changed = row_count;
    end if;
    if v_missing operator(pg_catalog.>) 0 then
        insert into public.message_delivery (message_id, status, sent_at, delivered_at, read_at, played_at, failed_at, errors)
        select t.message_id, v_ranks[t.rank], t.sent_at, t.delivered_at, t.read_at, t.played_at, t.failed_at, t.errors
        from pg_catalog.jsonb_to_recordset(v_told) t (
            message_id pg_catalog.uuid, rank integer, sent_at timestamp with time zone, delivered_at timestamp with time zone,
            read_at timestamp with time zone, played_at timestamp with time zone, failed_at timestamp with time zone,
            errors pg_catalog.jsonb, is_known boolean
        )
        where not t.is_known
        on conflict (message_id) do nothing;
        get diagnostics v_count = row_count;
        v_changed := v_changed operator(pg_catalog.+) v_count;
    end if;
    v_path := pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    if v_count < v_missing and not p_again then
        -- Another session was faster: its rows are there now.
        v_changed := v_changed + router.apply_statuses(p_effects, true);
    end if;
    return v_changed;
end
$function$;
