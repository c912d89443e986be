-- router.settle: what has waited for messages takes effect, now that they are made.
-- takes: events that have just been routed, and their targets
-- raises: what will pass (deadlock, lock timeout, full disk, shutdown). What the application refuses goes on waiting
-- reads: messages and router.waiting by key
-- writes: see router.apply_found
create or replace function router.settle(p_events router.event[], p_targets router.target[])
returns void
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
    v_made    router.made[];
    v_effects router.effect[];
begin
    select array_agg(row(e.channel, e.event_id, e.normalized ->> 'token', e.normalized ->> 'account', p.persons, m.id,
                         m.conversation_id, m.direction, m.sent_at, e.normalized ->> 'status', e.path)::router.made)
    into v_made
    from unnest(p_events) e
    cross join lateral (
        select array(select jsonb_array_elements_text(coalesce(e.normalized -> 'persons', jsonb_build_array(e.author_id))))
               as persons
    ) p
    cross join lateral (
        select m.id, m.conversation_id, m.direction, m.sent_at
        from public.messages m
        where m.channel = e.channel and m.provider_message_id >= e.event_id and m.provider_message_id <= e.event_id
        order by m.provider_message_id
        limit 1
    ) m
    where e.normalized is not null;
    if v_made is null then
        return;
    end if;

    v_effects := router.statuses_of(v_made);
    if v_effects is not null then
        perform router.apply_or_refuse('status', v_effects);
    end if;
    v_effects := router.waiting_for(v_made);
    if v_effects is not null then
        perform router.apply_found(v_effects);
    end if;
    perform router.settle_step('replies', v_made);
    perform router.settle_step('referrals', v_made);
    perform router.settle_step('comments', v_made);
end
$function$;
