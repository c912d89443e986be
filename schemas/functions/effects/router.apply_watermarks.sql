-- router.apply_watermarks: somebody has read, or been delivered, all that we wrote up to a moment. Each of these moments is
-- kept, since it holds for messages that come later as well: a message has the earliest time that any of them tells.
-- takes: effects about a person, with "until" in their content
-- returns: the places of those that wait: nothing has been written to or by that person yet
-- raises: invalid_datetime_format and its like for an "until" that is no time
-- reads: see router.apply_until
-- writes: router.watermarks, message_delivery; nothing for a watermark that is known
-- locks: keys of router.watermarks in their order
create or replace function router.apply_watermarks(p_effects router.effect[])
returns integer[]
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
    v_places integer[];            -- with v_news, side by side
    v_news   router.watermarks[];  -- those that are not known, and those that have waited
    v_known  boolean[];
    v_waits  integer[];
begin
    select array_agg(e.place), array_agg(e.watermark), array_agg(coalesce(w.known, false))
    into v_places, v_news, v_known
    from (
        select e.place, e.is_waiting,
               row(e.channel, coalesce(e.account, ''), coalesce(e.canonical, e.person, ''),
                   case e.kind when 'read_until' then 'read' else 'delivered' end,
                   coalesce((e.content ->> 'until')::timestamptz, e.at), e.at, now())::router.watermarks as watermark
        from unnest(p_effects) e
        offset 0
    ) e
    left join lateral (
        select true as known
        from router.watermarks w
        where w.channel = (e.watermark).channel and w.account = (e.watermark).account and w.person = (e.watermark).person
          and w.status = (e.watermark).status and w.until = (e.watermark).until and w.at <= (e.watermark).at
        limit 1
    ) w on true
    where e.is_waiting or w.known is null;
    if v_news is null then
        return '{}';
    end if;
    insert into router.watermarks as w (channel, account, person, status, until, at)
    select n.channel, n.account, n.person, n.status, n.until, min(n.at)
    from rows from (unnest(v_news), unnest(v_known)) n (channel, account, person, status, until, at, received_at, known)
    where not n.known  -- a conflict alone would write something for each
    group by n.channel, n.account, n.person, n.status, n.until
    order by n.channel, n.account, n.person, n.status, n.until
    on conflict (channel, account, person, status, until) do update set at = excluded.at where excluded.at < w.at;
    v_waits := (router.apply_until(v_news)).waits;
    return array(select v_places[w.place] from unnest(v_waits) w (place));
end
$function$;
