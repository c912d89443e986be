-- router.link_replies: has messages that answer one of these say so.
-- takes: messages that have just been made
-- returns: how many are linked now
-- reads: router.open_replies by ref and by token, nothing else as long as it is empty
-- writes: see router.link_open_replies
create or replace function router.link_replies(p_made router.made[])
returns integer
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
    v_replies uuid[];
begin
    if not exists (select from router.open_replies) then
        return 0;
    end if;
    v_replies := array(
        select o.message_id
        from unnest(p_made) m
        cross join lateral (
            select r.message_id from router.open_replies r where r.channel = m.channel and r.ref = m.event_id
            union all
            select r.message_id from router.open_replies r where r.channel = m.channel and r.token = m.token
        ) o
        group by o.message_id
    );
    if v_replies = '{}' then
        return 0;
    end if;
    return router.link_open_replies(v_replies);
end
$function$;
