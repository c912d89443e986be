-- router.note_histories: applies the statuses that a history tells of messages that were there before it.
-- takes: their events, with the status in "normalized"
-- reads: messages by key
-- writes: see router.apply_statuses; nothing where the application refuses it
create or replace function router.note_histories(p_events router.event[])
returns void
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
    v_effects router.effect[];
begin
    select array_agg(router.status_of(m.id, e.normalized ->> 'status', null)) into v_effects
    from unnest(p_events) e
    cross join lateral (
        select m.id
        from public.messages m
        where m.channel = e.channel and m.provider_message_id >= e.event_id and m.provider_message_id <= e.event_id
        order by m.provider_message_id
        limit 1
    ) m;
    if v_effects is not null then
        perform router.apply_or_refuse('status', v_effects);
    end if;
end
$function$;
