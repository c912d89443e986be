-- router.dated_line: gives the line of a message that tells no time the time at which its delivery came, if that was stored
-- earlier and the message is a new one: for one that is known already, the time of its first arrival stays.
-- takes: a line, see router.take_deliveries; when its delivery came, null for now
-- returns: the line
-- reads: public.webhook_events by key, for such lines alone
create or replace function router.dated_line(p_line jsonb, p_received timestamptz)
returns jsonb
language plpgsql
stable
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set enable_incremental_sort = off
set jit = off
as $function$
declare
    v_channel  text;
    v_event_id text;
begin
    if p_received is null or p_line ->> 'event_date' is not null then
        return p_line;
    end if;
    v_channel := router.channel_of(p_line ->> 'channel');
    v_event_id := p_line ->> 'event_id';
    perform from public.webhook_events w
    where w.channel = v_channel and w.event_id >= v_event_id and w.event_id <= v_event_id
    order by w.event_id
    limit 1;
    return case when found then p_line else p_line || jsonb_build_object('event_date', p_received) end;
end
$function$;
