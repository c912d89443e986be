-- router.move_referrals: gives new messages the referrals that belong to them: those of their person and account that came
-- before them, and have no message yet, or a later one.
-- takes: messages that have just been made
-- returns: how many referrals have another message now
-- reads: router.referrals by person, nothing else as long as it is empty
-- writes: see router.give_referrals
create or replace function router.move_referrals(p_made router.made[])
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
    v_moved router.referrals[];
begin
    if not exists (select from router.referrals) then
        return 0;
    end if;
    select array_agg(row(f.channel, f.account, f.person, f.at, f.ord, f.referral, f.message_id,
                         f.received_at)::router.referrals)
    into v_moved
    from (
        select distinct on (r.channel, r.account, r.person, r.at, r.ord)
               r.channel, r.account, r.person, r.at, r.ord, r.referral, m.message_id, r.received_at
        from unnest(p_made) m
        cross join unnest(m.persons) p (person)
        cross join lateral (
            select r.*
            from router.referrals r
            where r.channel = m.channel and r.account = any (array[coalesce(m.account, ''), '']) and r.person = p.person
              and r.at <= m.sent_at
        ) r
        left join lateral (
            select h.sent_at, h.provider_message_id from public.messages h where h.id = r.message_id limit 1
        ) h on true
        where m.direction = 'inbound'
          and (h.sent_at is null
               or (m.sent_at, m.event_id collate "C") < (h.sent_at, coalesce(h.provider_message_id, '') collate "C"))
        order by r.channel, r.account, r.person, r.at, r.ord, m.sent_at, m.event_id collate "C"
    ) f;
    if v_moved is null then
        return 0;
    end if;
    return router.give_referrals(v_moved);
end
$function$;
