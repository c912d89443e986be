-- router.place_referrals: finds the message of each of these referrals: the first one that its person has written to the
-- account from then on.
-- takes: rows of router.referrals; other spellings of their persons, each list as a JSON array
-- returns: those that have no message, by their place
-- reads: contact_channels by key, conversations by contact, messages by conversation
-- writes: see router.give_referrals
create or replace function router.place_referrals(p_referrals router.referrals[], p_forms jsonb[])
returns integer[]
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
    v_found uuid[];
begin
    select array_agg(m.id order by r.ordinality) into v_found
    from unnest(p_referrals) with ordinality r
    left join lateral (
        select m.id
        from (
            select distinct k.contact_id
            from jsonb_array_elements_text(coalesce(p_forms[r.ordinality], '[]') || to_jsonb(r.person)) f (external_id)
            cross join lateral (
                select k.contact_id
                from public.contact_channels k
                where k.channel = r.channel collate "default"
                  and k.external_id >= f.external_id and k.external_id <= f.external_id
                order by k.external_id
                limit 1
            ) k
        ) k
        cross join lateral (
            select v.id
            from public.conversations v
            where v.contact_id = k.contact_id and v.channel is not distinct from r.channel
              and (v.account_id = r.account or v.account_id is null or r.account = '')
            offset 0
        ) v
        cross join lateral (
            select m.id, m.sent_at, m.provider_message_id
            from public.messages m
            where m.conversation_id = v.id and m.sent_at >= r.at and m.direction = 'inbound'
            order by m.sent_at, m.provider_message_id collate "C", m.id
            limit 1
        ) m
        order by m.sent_at, m.provider_message_id collate "C", m.id
        limit 1
    ) m on true;
    perform router.give_referrals(array(
        select row(r.channel, r.account, r.person, r.at, r.ord, r.referral, v_found[r.ordinality],
                   r.received_at)::router.referrals
        from unnest(p_referrals) with ordinality r
        where v_found[r.ordinality] is not null
    ));
    return array(select n.place from unnest(v_found) with ordinality n (id, place) where n.id is null);
end
$function$;
