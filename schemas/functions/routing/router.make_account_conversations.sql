-- router.make_account_conversations: makes the missing conversations of events with "normalized", one after the other: each is
-- taken as it was stored, whatever triggers of the application have made of it. One for history alone is closed.
-- takes: events; their targets; the seed of the batch's keys
-- returns: the targets, in the same order, each with a conversation
-- raises: integrity_constraint_violation if a trigger keeps a conversation out
-- writes: conversations
create or replace function router.make_account_conversations(
    p_events router.event[], p_targets router.target[], p_seed bytea
) returns router.target[]
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set jit = off
as $function$
declare
    v_event  record;
    v_id     uuid;
    v_path   text;
begin
    for v_event in
        select e.place, e.contact_id, e.channel, e.account, row_number() over of_one = 1 as is_first,
               max(e.ranked_at) over of_one as ranked_at,
               coalesce(e.thread, max(e.named_thread) over of_one) as thread,
               bool_and(e.is_history) over of_one as is_history
        from (
            select e.ordinality as place, e.contact_id, e.channel, e.ranked_at,
                   e.normalized ->> 'account' as account, e.normalized ->> 'thread' as named_thread,
                   e.normalized ->> 'history' is not null as is_history,
                   case when e.author_id is null
                        then coalesce(e.normalized ->> 'thread', router.thread_of(e.type, e.post_id, e.event_id)) end as thread
            from rows from (unnest(p_events), unnest(p_targets)) with ordinality e
            where e.conversation_id is null and e.normalized is not null
        ) e
        window of_one as (partition by e.contact_id, e.channel, e.thread, e.account order by e.place
                          rows between unbounded preceding and unbounded following)
        order by e.contact_id, e.channel, e.thread, e.account, e.place
    loop
        if v_event.is_first then
            v_path := pg_catalog.set_config('search_path', router.application_path(), true);
            -- Other conversations have the negative numbers down to that of the events, contacts the positive ones.
            if v_event.is_history then
                insert into public.conversations as v (id, contact_id, channel, channel_conversation_id, status,
                                                       last_message_at, account_id, metadata)
                values (router.key_of(p_seed, -1000000 operator(pg_catalog.-) v_event.place), v_event.contact_id,
                        v_event.channel, v_event.thread, 'closed', v_event.ranked_at, v_event.account,
                        pg_catalog.jsonb_build_object('history', true))
                returning v.id into v_id;
            else
                insert into public.conversations as v (id, contact_id, channel, channel_conversation_id, status,
                                                       last_message_at, account_id)
                values (router.key_of(p_seed, -1000000 operator(pg_catalog.-) v_event.place), v_event.contact_id,
                        v_event.channel, v_event.thread, 'open', v_event.ranked_at, v_event.account)
                returning v.id into v_id;
            end if;
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
