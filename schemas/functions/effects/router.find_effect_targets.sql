-- router.find_effect_targets: looks up the messages that effects change: by the id that they name, and otherwise, since one
-- message of WhatsApp has several ids, by what these have in common, within the conversations of the person.
-- takes: effects; how many of the first are looked for by what their ids have in common, and among how many of the latest
--   messages of each conversation
-- returns: them, in the same order and numbered, with message_id and conversation_id as far as there is such a message
-- reads: messages by key; for tokens contact_channels by key, and the latest messages of the person's conversations
create or replace function router.find_effect_targets(
    p_effects router.effect[], p_by_token integer default 1000, p_depth integer default 500
) returns router.effect[]
language plpgsql
volatile  -- each call sees what others have committed since the last one
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
    v_effects  router.effect[];
    v_effect   router.effect;
    v_found    record;
    v_by_token boolean;
begin
    select array_agg(row(e.ordinality, e.kind, e.atom_id, e.channel, e.target, e.token, e.account, e.person, e.canonical,
                         e.forms, coalesce(e.at, e.received_at, now()), coalesce(e.ord, ''), e.subject, e.content,
                         coalesce(e.received_at, now()), coalesce(e.is_waiting, false), m.id,
                         m.conversation_id)::router.effect),
           bool_or(m.id is null and e.token is not null and e.target is not null)
    into v_effects, v_by_token
    from unnest(p_effects) with ordinality e
    left join lateral (
        select m.id, m.conversation_id
        from public.messages m
        where m.channel = e.channel and m.provider_message_id >= e.target and m.provider_message_id <= e.target
        order by m.provider_message_id
        limit 1
    ) m on true;
    if not v_by_token then
        return v_effects;
    end if;

    for v_found in
        select e.place, m.id, m.conversation_id
        from unnest(v_effects) e
        cross join lateral (
            select m.id, m.conversation_id
            from (select router.token_marks(e.token) as marks offset 0) t
            cross join unnest(array[e.person, e.canonical] || e.forms) f (external_id)
            cross join lateral (
                select k.contact_id
                from public.contact_channels k
                where k.channel = e.channel and k.external_id = f.external_id
                limit 1
            ) k
            join public.conversations v on v.contact_id = k.contact_id
            cross join lateral (
                select m.id, m.conversation_id, m.channel, m.provider_message_id
                from public.messages m
                where m.conversation_id = v.id
                order by m.conversation_id, m.sent_at desc
                -- A long conversation must not make each status of an unknown message costly. It comes soon after the message.
                limit case when e.kind = 'status' then least(p_depth, 50) else p_depth end
            ) m
            where m.channel = e.channel
              and (position(t.marks[1] in m.provider_message_id) > 0 or position(t.marks[2] in m.provider_message_id) > 0
                   or position(t.marks[3] in m.provider_message_id) > 0)
              and router.token_of(m.provider_message_id) = e.token
            limit 1
        ) m
        where e.message_id is null and e.token is not null and e.target is not null and e.place <= p_by_token
    loop
        v_effect := v_effects[v_found.place];
        v_effect.message_id := v_found.id;
        v_effect.conversation_id := v_found.conversation_id;
        v_effects[v_found.place] := v_effect;
    end loop;
    return v_effects;
end
$function$;
