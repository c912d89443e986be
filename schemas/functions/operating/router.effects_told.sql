-- router.effects_told: what has become of a message since it was made: kinds, times and numbers, and nothing that anybody
-- wrote.
-- returns: the earliest first. kind: 'sent', 'delivered', 'read', 'played' or 'failed', as its provider told of a message of
--   ours; 'reactions' that it has, 'reactions taken back', 'edits', 'deletion', 'referral', 'reply' (the message that it
--   answers is not there). at: when; the latest time of several; null if it is not known. number: how many, at most 1,000; of
--   edits the texts that are kept; null where that says nothing. codes: of a failure, the provider's
-- reads: messages, message_delivery, message_reactions, message_revisions, router.referrals, router.open_replies by key
create or replace function router.effects_told(p_message_id uuid)
returns table (kind text, at timestamptz, number integer, codes text)
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $function$
begin
    return query
    select t.kind, t.at, t.number::integer, t.codes
    from (
        select s.kind, s.at, null::bigint as number,
               case when s.kind = 'failed' then (
                   select string_agg(e.code, ', ')
                   from (
                       select e.error ->> 'code' as code
                       from jsonb_array_elements(case when jsonb_typeof(d.errors) = 'array' then d.errors else '[]' end) e (error)
                       where e.error ->> 'code' ~ '^[0-9]{1,10}$'
                       limit 5
                   ) e
               ) end as codes
        from public.message_delivery d
        cross join lateral (values ('sent', d.sent_at), ('delivered', d.delivered_at), ('read', d.read_at),
                                   ('played', d.played_at), ('failed', d.failed_at)) s (kind, at)
        where d.message_id = p_message_id and (s.at is not null or s.kind = d.status)
        union all
        select case when r.is_there then 'reactions' else 'reactions taken back' end, max(r.reacted_at), count(*), null
        from (
            select r.emoji <> '{}' as is_there, r.reacted_at
            from public.message_reactions r
            where r.message_id = p_message_id
            limit 1000
        ) r
        group by r.is_there
        union all
        select 'edits', coalesce(router.time_of(m.metadata ->> 'edited_at'), r.at), nullif(r.number, 0), null
        from public.messages m
        cross join lateral (
            select max(r.revised_at) as at, count(*) as number
            from (select r.revised_at from public.message_revisions r where r.message_id = p_message_id limit 1000) r
        ) r
        where m.id = p_message_id and (r.number > 0 or m.metadata ->> 'edited_at' is not null)
        union all
        select 'deletion', router.time_of(m.metadata ->> 'deleted_at'), null, null
        from public.messages m
        where m.id = p_message_id and m.metadata ->> 'deleted_at' is not null
        union all
        select 'referral', max(r.at), null, null
        from router.referrals r
        where r.message_id = p_message_id
        having count(*) > 0
        union all
        select 'reply', r.received_at, null, null
        from router.open_replies r
        where r.message_id = p_message_id
    ) t
    order by t.at, array_position('{sent,failed,delivered,read,played}', t.kind), t.kind collate "C";
end
$function$;
