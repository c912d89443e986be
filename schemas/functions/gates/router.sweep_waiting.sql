-- router.sweep_waiting: one step of going through what waits for messages: those that the application has inserted itself
-- release nothing by themselves. What is newest is looked at in each step, all of it in a round of several.
-- takes: how many rows of each table; the place that the last step has returned, null to begin a round; p_path: by which
--   path the comments of our own are routed that have waited long enough, see router.mark_routed
-- returns: place: where the next step goes on; null: the round is complete; applied: how many effects have come to something;
--   expired: how many have waited for too long, and are gone
-- raises: what will pass. What the application refuses goes on waiting
-- reads: router.waiting, router.watermarks, router.open_replies, messages by key
-- writes: see router.apply_found, router.release_due_comments, router.sweep_late and router.retry_replies; nothing for what
--   still waits
create or replace function router.sweep_waiting(
    p_limit integer default 200, p_place jsonb default null, p_path text default 'intake',
    out place jsonb, out applied integer, out expired integer
)
language plpgsql
volatile
security definer
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
    v_stage      text := coalesce(p_place ->> 'stage', 'waiting');
    v_waiting    router.waiting[];
    v_watermarks router.watermarks[];
    v_last       router.waiting;
    v_mark       router.watermarks;
    v_reply      uuid;
begin
    p_limit := least(greatest(p_limit, 1), 10000);
    applied := 0;
    delete from router.waiting w
    where w.ctid = any (array(
        select w.ctid
        from router.waiting w
        where w.expires_at < now() and w.kind <> 'comment'  -- what ends the wait of a comment is not its death
        order by w.expires_at
        limit p_limit
    ));
    get diagnostics expired = row_count;
    perform router.release_due_comments(p_limit, p_path);
    perform router.sweep_late(p_limit);

    if p_place is not null then
        v_waiting := array(select w from router.waiting w order by w.received_at desc limit p_limit);
        applied := applied + router.retry_waiting(v_waiting);
        v_watermarks := array(
            select w
            from router.watermarks w
            where w.received_at > now() - interval '1 hour'
            order by w.received_at desc
            limit p_limit
        );
        applied := applied + router.retry_watermarks(v_watermarks);
    end if;

    if v_stage = 'waiting' then
        v_waiting := array(
            select w
            from router.waiting w
            where (w.channel, w.atom_id) > (coalesce(p_place ->> 'channel', ''), coalesce(p_place ->> 'atom_id', ''))
            order by w.channel, w.atom_id
            limit p_limit
        );
        applied := applied + router.retry_waiting(v_waiting);
        if cardinality(v_waiting) = p_limit then
            v_last := v_waiting[p_limit];
            place := jsonb_build_object('stage', v_stage, 'channel', v_last.channel, 'atom_id', v_last.atom_id);
            return;
        end if;
        v_stage := 'watermarks';
        p_place := null;
    end if;

    if v_stage = 'watermarks' then
        v_mark := jsonb_populate_record(
            row('', '', '', '', '-infinity', null, null)::router.watermarks, coalesce(p_place -> 'watermark', '{}'));
        v_watermarks := array(
            select w
            from router.watermarks w
            where (w.channel, w.account, w.person, w.status, w.until)
                  > (v_mark.channel, v_mark.account, v_mark.person, v_mark.status, v_mark.until)
            order by w.channel, w.account, w.person, w.status, w.until
            limit p_limit
        );
        applied := applied + router.retry_watermarks(v_watermarks);
        if cardinality(v_watermarks) = p_limit then
            place := jsonb_build_object('stage', v_stage, 'watermark', v_watermarks[p_limit]);
            return;
        end if;
        v_stage := 'replies';
        p_place := null;
    end if;

    v_reply := router.retry_replies(p_limit, (p_place ->> 'reply')::uuid);
    if v_reply is not null then
        place := jsonb_build_object('stage', v_stage, 'reply', v_reply);
    end if;
end
$function$;
