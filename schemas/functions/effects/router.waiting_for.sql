-- router.waiting_for: effects that have waited for new messages, or for a first message of a person.
-- takes: messages
-- returns: the effects, with message_id where they change one of these; null if there is none. Comments that wait for theirs
--   are no effects, see router.release_comments
-- reads: router.waiting by key
create or replace function router.waiting_for(p_made router.made[])
returns router.effect[]
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
    v_effects router.effect[];
    v_effect  router.effect;
    v_row     record;
begin
    for v_row in
        select w.effect, w.received_at, m.message_id, m.conversation_id
        from unnest(p_made) m
        cross join lateral (
            select w.effect, w.received_at
            from router.waiting w
            where w.channel = m.channel and w.target >= m.event_id and w.target <= m.event_id and w.kind <> 'comment'
            order by w.target
            offset 0
        ) w
        union all
        -- The same message by another of its ids.
        select w.effect, w.received_at, m.message_id, m.conversation_id
        from unnest(p_made) m
        cross join lateral (
            select w.effect, w.received_at
            from router.waiting w
            where w.channel = m.channel and w.token >= m.token and w.token <= m.token and w.target <> m.event_id
              and (w.person is null or w.person = any (m.persons))
            order by w.token
            offset 0
        ) w
    loop
        v_effect := router.effect_of(v_row.effect, coalesce(cardinality(v_effects), 0) + 1, v_row.received_at, true);
        v_effect.message_id := v_row.message_id;
        v_effect.conversation_id := v_row.conversation_id;
        v_effects := v_effects || v_effect;
    end loop;
    for v_row in
        select distinct w.channel, w.atom_id, w.effect, w.received_at
        from unnest(p_made) m
        cross join unnest(m.persons) p (person)
        cross join lateral (
            select w.channel, w.atom_id, w.effect, w.received_at
            from router.waiting w
            where w.channel = m.channel and w.person >= p.person and w.person <= p.person and w.target is null
            order by w.person
            offset 0
        ) w
    loop
        v_effects := v_effects
            || router.effect_of(v_row.effect, coalesce(cardinality(v_effects), 0) + 1, v_row.received_at, true);
    end loop;
    return v_effects;
end
$function$;
