-- router.find_messages: finds the events whose message exists already (because the application has re-opened them, say).
-- takes: events; p_rewritten: messages that a trigger of the application has given another key, as router.insert_messages
--   found them
-- returns: a target for each, in the same order: has_message, the message and its conversation, or null if there is none
-- reads: messages by key
create or replace function router.find_messages(p_events router.event[], p_rewritten jsonb default null)
returns router.target[]
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set enable_incremental_sort = off
set jit = off
as $function$
declare
    v_targets router.target[] := array_fill(null::router.target, array[cardinality(p_events)]);
    v_target  router.target;
    v_found   record;
begin
    for v_found in
        select e.ordinality as place, m.id, m.conversation_id
        from unnest(p_events) with ordinality e
        cross join lateral (
            select m.id, m.conversation_id
            from public.messages m
            where m.channel = e.channel and m.provider_message_id >= e.event_id and m.provider_message_id <= e.event_id
            order by m.provider_message_id
            limit 1
        ) m
        union all
        select r.place, r.message_id, r.conversation_id
        from jsonb_to_recordset(p_rewritten) r (place bigint, message_id uuid, conversation_id uuid)
    loop
        v_target.has_message := true;
        v_target.conversation_id := v_found.conversation_id;
        v_target.message_id := v_found.id;
        v_targets[v_found.place] := v_target;
    end loop;
    return v_targets;
end
$function$;
