-- router.release_comments: routes the comments of our own that have waited for comments that are there now.
-- takes: messages that have just been made
-- reads: router.waiting by target, webhook_events by key
-- writes: see router.route_own_comments
-- locks: the comments' events; one that another batch has claimed is left to that batch
create or replace function router.release_comments(p_made router.made[])
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
    v_channels text[];
    v_ids      text[];
begin
    select array_agg(w.channel order by w.channel, w.atom_id), array_agg(w.atom_id order by w.channel, w.atom_id)
    into v_channels, v_ids
    from unnest(p_made) m
    cross join lateral (
        select w.channel, w.atom_id
        from router.waiting w
        where w.channel = m.channel and w.target = m.event_id and w.kind = 'comment'
        offset 0
    ) w;
    if v_ids is not null then
        perform router.route_waiting_comments(v_channels, v_ids, true, p_made[1].path);
    end if;
end
$function$;
