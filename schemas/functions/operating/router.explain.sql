-- router.explain: where an event is on its way from webhook_events into the inbox. It tells ids, times, states and the names
-- of triggers, and nothing that anybody wrote.
-- takes: the key of the event, as the application stores it; the channel in any case
-- returns: one row. state: 'unknown' (webhook_events has no such row), 'ready' to be routed, 'parked' until its next attempt,
--   'dead' (no attempt is left), 'discarded' (by an operator) or 'routed'. What is not known or does not apply is null:
--   has_author, whether the event names a person; ready_before, how many ready events arrived before it, at most 1,000;
--   error_code to discarded_at, as router.parked shows them; conversation_id, conversation_status and
--   contact_id, of its message, or of the event itself if it has no message; channel_id, of its author's row in
--   contact_channels; triggers: those that may have kept out or rewritten what is missing: of messages, if a routed event has
--   no message, and of webhook_events, if the event is unknown; for unknown events also found_in, the channels that have an
--   event with this event_id; channels, those that have any event; last_event_date, the latest one of this channel that is
--   not in the future; routed_by, by which path it was routed, see router.mark_routed
-- reads: webhook_events, messages, contact_channels by key; conversations by primary key; see router.parked; the channels
--   by steps from one to the next in the key of webhook_events
-- raises: see router.refuse_hidden_rows
create or replace function router.explain(
    p_channel text, p_event_id text,
    out state text, out id uuid, out channel text, out type text, out event_id text, out event_date timestamptz,
    out created_at timestamptz, out has_author boolean, out ready_before integer, out error_code text,
    out error_message text, out attempts integer, out first_parked_at timestamptz, out last_parked_at timestamptz,
    out next_attempt_at timestamptz, out discarded_at timestamptz, out routed_at timestamptz, out conversation_id uuid,
    out conversation_status text, out message_id uuid, out contact_id uuid, out channel_id uuid, out triggers text[],
    out found_in text[], out channels text[], out last_event_date timestamptz,
    out routed_by text
)
language plpgsql
stable
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
    v_row     public.webhook_events;
    v_parked  record;
    v_message record;
    v_person  record;
    -- Compared by the collation of the column beside them: the columns of two tables may have different ones.
    v_channel constant text := router.channel_of(p_channel);
    v_author  text;
    v_other   text;
begin
    channel := v_channel;
    event_id := p_event_id;
    select w.* into v_row
    from public.webhook_events w
    where w.channel = v_channel and w.event_id >= p_event_id and w.event_id <= p_event_id
    order by w.event_id
    limit 1;
    select m.id, m.conversation_id, m.contact_id into v_message
    from public.messages m
    where m.channel = v_channel and m.provider_message_id >= p_event_id and m.provider_message_id <= p_event_id
    order by m.provider_message_id
    limit 1;

    if v_row.id is not null then
        select p.* into v_parked from router.parked(array[v_row.id]) p;
        state := case when v_row.routed_at is not null then 'routed'
                      when v_row.parked_until is null then 'ready'
                      when v_parked.state = 'waiting' then 'parked'
                      else coalesce(v_parked.state, case when v_row.parked_until = 'infinity' then 'dead' else 'parked' end)
                 end;
        id := v_row.id;
        type := v_row.type;
        event_id := v_row.event_id;
        event_date := v_row.event_date;
        created_at := v_row.created_at;
        error_code := v_parked.error_code;
        error_message := v_parked.error_message;
        attempts := v_parked.attempts;
        first_parked_at := v_parked.first_parked_at;
        last_parked_at := v_parked.last_parked_at;
        next_attempt_at := v_row.parked_until;
        discarded_at := v_parked.discarded_at;
        routed_at := v_row.routed_at;
        if v_row.routed_at is not null then
            -- An application may have had such a column before, with whatever it wrote there.
            routed_by := case when v_row.routed_by in ('hot', 'sweep', 'kafka', 'gateway', 'intake', 'call')
                              then v_row.routed_by end;
        end if;
        v_author := nullif(btrim(v_row.author_id), '');
        has_author := v_author is not null;
        select k.id, k.contact_id into v_person
        from public.contact_channels k
        where k.channel = v_channel and k.external_id = v_author
        limit 1;
        channel_id := v_person.id;
    else
        perform router.refuse_hidden_rows();
        select null::uuid as contact_id into v_person;
        state := 'unknown';
        found_in := '{}';
        channels := '{}';
        v_other := (select w.channel from public.webhook_events w order by w.channel, w.event_id limit 1);
        while v_other is not null and cardinality(channels) < 100 loop
            channels := channels || v_other;
            if exists (select
                       from public.webhook_events w
                       where w.channel = v_other and w.event_id >= p_event_id and w.event_id <= p_event_id) then
                found_in := found_in || v_other;
            end if;
            v_other := (select w.channel from public.webhook_events w where w.channel > v_other
                        order by w.channel, w.event_id limit 1);
        end loop;
        last_event_date := (
            select w.event_date
            from public.webhook_events w
            where w.channel = v_channel and w.event_date <= now()
            order by w.channel desc, w.event_date desc
            limit 1
        );
    end if;
    message_id := v_message.id;
    conversation_id := coalesce(v_message.conversation_id, v_row.conversation_id);
    contact_id := coalesce(v_message.contact_id, v_person.contact_id);
    conversation_status := (select v.status from public.conversations v
                            where v.id = coalesce(v_message.conversation_id, v_row.conversation_id));

    if state = 'ready' then
        ready_before := (
            select count(*)
            from (
                select
                from public.webhook_events w
                where w.routed_at is null and w.parked_until is null
                  and (w.created_at, w.id) < (v_row.created_at, v_row.id)
                order by w.created_at, w.id
                limit 1000
            ) w
        );
    elsif state = 'unknown' or state = 'routed' and message_id is null then
        triggers := array(
            select format('%s (%s)', t.tgname, t.tgfoid::regprocedure)
            from pg_trigger t
            where t.tgrelid = case when state = 'routed' then 'public.messages'::regclass
                                   else 'public.webhook_events'::regclass end
              and t.tgtype & 7 = 7  -- before insert, for each row
              and t.tgenabled <> 'D' and not t.tgisinternal
            order by t.tgname
        );
    end if;
end
$function$;
