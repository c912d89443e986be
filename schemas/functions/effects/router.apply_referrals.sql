-- router.apply_referrals: keeps referrals that came without a message for the first message that their person writes from then
-- on, which may be there already.
-- takes: effects of the kind "referral"; content: referral
-- returns: the places of those that have no message yet
-- writes: router.referrals; see also router.give_referrals
-- locks: router.referrals in the order of their key
create or replace function router.apply_referrals(p_effects router.effect[])
returns integer[]
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
    v_referrals router.referrals[];
    v_forms     jsonb[];
    v_open      integer[];
begin
    select array_agg(row(e.channel, coalesce(e.account, ''), coalesce(e.canonical, e.person), e.at,
                         coalesce(nullif(e.ord, ''), e.atom_id), coalesce(e.content -> 'referral', '{}'), null,
                         now())::router.referrals order by e.ordinality),
           array_agg(to_jsonb(array_remove(array[e.person] || e.forms, null)) order by e.ordinality)
    into v_referrals, v_forms
    from unnest(p_effects) with ordinality e
    where coalesce(e.canonical, e.person) is not null;
    if v_referrals is null then
        return '{}';
    end if;

    insert into router.referrals (channel, account, person, at, ord, referral)
    select r.channel, r.account, r.person, r.at, r.ord, r.referral
    from unnest(v_referrals) r
    left join lateral (
        select true as known
        from router.referrals k
        where k.channel = r.channel and k.account = r.account and k.person = r.person and k.at = r.at and k.ord = r.ord
        limit 1
    ) k on true
    where k.known is null
    order by r.channel, r.account, r.person, r.at, r.ord
    on conflict do nothing;
    v_open := router.place_referrals(v_referrals, v_forms);
    return array(
        select e.place
        from (
            select e.place, row_number() over (order by e.ordinality) as number
            from unnest(p_effects) with ordinality e
            where coalesce(e.canonical, e.person) is not null
        ) e
        where e.number = any (v_open)
    );
end
$function$;
