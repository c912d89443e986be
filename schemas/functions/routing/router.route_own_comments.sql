-- router.route_own_comments: router.route_or_hold for a batch with comments of our own: they go where the comments are that they
-- answer, so these are routed first. One whose comment is not there waits for it for five seconds from its arrival, and is
-- then routed without it.
-- takes: events whose rows the caller has locked; p_constraints as router.check_deferred; p_wait false: none waits any longer
-- returns: as router.route_or_hold; waiting: ids of the events that wait
-- reads: messages by key
-- writes: router.waiting, see also router.route and router.park_comments
create or replace function router.route_own_comments(
    p_events router.event[], p_constraints text, p_wait boolean default true,
    out inserted integer, out parked uuid[], out dead integer, out held uuid[], out faults integer, out reason text,
    out waiting uuid[]
)
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
    v_ready router.event[];
    v_rest  router.event[];
    v_done  record;
begin
    inserted := 0;
    parked := '{}';
    dead := 0;
    held := '{}';
    faults := 0;
    waiting := '{}';
    select array_agg(e) filter (where e.normalized ->> 'own_comment' is null or e.author_id is not null),
           array_agg(e) filter (where e.normalized ->> 'own_comment' is not null and e.author_id is null)
    into v_ready, v_rest
    from unnest(p_events) e;
    loop
        if v_ready is not null then
            v_done := router.route_or_hold(v_ready, p_constraints);
            inserted := inserted + v_done.inserted;
            parked := parked || v_done.parked;
            dead := dead + v_done.dead;
            held := held || v_done.held;
            reason := case when faults = 0 and v_done.faults > 0 then v_done.reason else coalesce(reason, v_done.reason) end;
            faults := faults + v_done.faults;
            delete from router.waiting w
            using unnest(v_ready) e
            where e.normalized ->> 'own_comment' is not null and w.channel = e.channel and w.atom_id = e.event_id
              and w.kind = 'comment';
        end if;
        exit when v_rest is null;
        select array_agg(e.event) filter (where e.is_ready), array_agg(e.event) filter (where not e.is_ready)
        into v_ready, v_rest
        from (
            select e as event,
                   m.id is not null or not p_wait or e.normalized ->> 'reply' is null
                   or (e.created_at > now() - interval '5 seconds' and e.created_at <= now()) is not true as is_ready
            from unnest(v_rest) e
            left join lateral (
                select m.id
                from public.messages m
                where m.channel = e.channel
                  and m.provider_message_id >= e.normalized ->> 'reply' and m.provider_message_id <= e.normalized ->> 'reply'
                order by m.provider_message_id
                limit 1
            ) m on true
            offset 0
        ) e;
        if v_ready is null then
            waiting := router.park_comments(v_rest);
            v_ready := array(select e from unnest(v_rest) e where e.id <> all (waiting));
            v_rest := null;
            exit when v_ready = '{}';
        end if;
    end loop;
end
$function$;
