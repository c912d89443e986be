-- router.statuses_of: how far new messages of ours had come before they were made: by the history that they are from, and by
-- watermarks.
-- takes: messages
-- returns: effects for router.apply_statuses; null if nothing is known
-- reads: router.watermarks by key
create or replace function router.statuses_of(p_made router.made[])
returns router.effect[]
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
    return (
        select array_agg(router.status_of(s.message_id, s.status, s.at))
        from (
            select m.message_id, m.status, null::timestamptz as at
            from unnest(p_made) m
            where m.direction = 'outbound' and m.status is not null
            union all
            select m.message_id, s.status, w.at
            from unnest(p_made) m
            cross join unnest(array['read', 'delivered']) s (status)
            cross join unnest(m.persons) p (person)
            -- One that names no account is about each.
            cross join unnest(case when m.account is null then array[''] else array['', m.account] end) a (account)
            cross join lateral (
                select min(w.at) as at
                from router.watermarks w
                where w.channel = m.channel and w.account = a.account and w.person = p.person and w.status = s.status
                  and w.until >= m.sent_at
            ) w
            where m.direction = 'outbound' and w.at is not null
        ) s
    );
end
$function$;
