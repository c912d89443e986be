-- router.make_conversations: makes the missing conversations of events without "normalized" one after the other, for
-- applications whose triggers change what is inserted: each is taken as it was stored, whatever its status, channel and key
-- are now.
-- takes: events; their targets; the seed of the batch's keys
-- returns: the targets, in the same order, each with a conversation; see also router.make_account_conversations
-- raises: integrity_constraint_violation if a trigger keeps a conversation out
-- writes: conversations
create or replace function router.make_conversations(p_events router.event[], p_targets router.target[], p_seed bytea)
returns router.target[]
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set jit = off
as $function$
declare
    v_event record;
    v_key   uuid;
    v_id    uuid;
    v_path  text;
begin
    for v_event in
        select e.place, e.contact_id, e.channel, e.thread,
               row_number() over of_one = 1 as is_first, max(e.ranked_at) over of_one as ranked_at
        from (
            select e.ordinality as place, e.contact_id, e.channel, e.ranked_at,
                   case when e.author_id is null then router.thread_of(e.type, e.post_id, e.event_id) end as thread
            from rows from (unnest(p_events), unnest(p_targets)) with ordinality e
            where e.conversation_id is null and e.normalized is null
        ) e
        window of_one as (partition by e.contact_id, e.channel, e.thread order by e.ranked_at desc, e.place)
        order by e.contact_id, e.channel, e.thread, e.ranked_at desc, e.place
    loop
        if v_event.is_first then
            v_key := router.key_of(p_seed, -v_event.place);
            v_path := pg_catalog.set_config('search_path', router.application_path(), true);
            insert into public.conversations as v (id, contact_id, channel, channel_conversation_id, status, last_message_at)
            values (v_key, v_event.contact_id, v_event.channel, v_event.thread, 'open', v_event.ranked_at)
            returning v.id into v_id;
            v_path := pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
            if v_id is null then
                raise exception 'a trigger or rule on conversations keeps out the conversation of an event'
                    using errcode = 'integrity_constraint_violation';
            end if;
        end if;
        p_targets[v_event.place].conversation_id := v_id;
    end loop;
    return p_targets;
end
$function$;
