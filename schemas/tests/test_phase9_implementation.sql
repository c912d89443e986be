-- A batch of events that somebody inserted straight into the table, through route_unrouted_events; then opened again, and
-- routed again without any further effect.
--   psql -v ON_ERROR_STOP=1 -f test_phase9_implementation.sql
-- Needs the rights of the tables' owner. It is one transaction, so a running service does not come in between; it leaves
-- its own contact, conversation and messages for you to look at, and removes them at the start of the next run.
-- Events of yours that wait are routed by it as by any call of the function: up to 50 a call.

begin;

delete from public.messages m
where m.channel = 'instagram' and starts_with(m.provider_message_id, 'phase9_test_evt_batch_');
delete from public.conversations v
using public.contact_channels k
where k.channel = 'instagram' and k.external_id = 'phase9_test_author_batch' and v.contact_id = k.contact_id;
delete from public.contacts c
using public.contact_channels k
where k.channel = 'instagram' and k.external_id = 'phase9_test_author_batch' and c.id = k.contact_id;
delete from public.webhook_events w
where w.channel = 'instagram' and starts_with(w.event_id, 'phase9_test_evt_batch_');

-- The oldest event_date goes first: these are older than whatever waits.
insert into public.webhook_events (channel, type, event_id, author_id, author_name, content, event_date, raw_payload)
select 'instagram', 'message', 'phase9_test_evt_batch_' || n, 'phase9_test_author_batch', 'Phase Nine',
       'Batch message ' || n, b.oldest - interval '1 hour' + n * interval '1 minute', '{"test": "phase9"}'
from generate_series(1, 3) n,
     (select least(now(), min(w.event_date)) as oldest
      from public.webhook_events w
      where w.routed_at is null and w.event_date > '4000-01-01 BC') b
on conflict (channel, event_id) do update set content = excluded.content;

-- Reset, as operators do it.
update public.webhook_events w
set routed_at = null, conversation_id = null
where w.channel = 'instagram' and starts_with(w.event_id, 'phase9_test_evt_batch_');

select w.event_id, w.event_date::text as event_date, w.routed_at, w.conversation_id
from public.webhook_events w
where w.channel = 'instagram' and starts_with(w.event_id, 'phase9_test_evt_batch_')
order by w.event_id;

select public.route_unrouted_events(null, 50) as handled;

do $check$
declare
    v_round    integer;
    v_calls    integer := 0;
    v_open     integer;
    v_messages uuid[];
    v_first    uuid[];
begin
    for v_round in 1 .. 2 loop
        -- The first call has taken them, unless more than 50 events wait with a date before any calendar's. The second
        -- round takes no more than them.
        loop
            select count(*) into v_open from public.webhook_events w
            where w.channel = 'instagram' and starts_with(w.event_id, 'phase9_test_evt_batch_')
              and (w.routed_at is null or w.conversation_id is null);
            exit when v_open = 0;
            v_calls := v_calls + 1;
            if v_calls > 20 then
                raise exception '% of 3 events are not routed after % more calls', v_open, v_calls - 1;
            end if;
            perform public.route_unrouted_events(null, case v_round when 1 then 50 else 3 end);
        end loop;

        select array_agg(m.id order by m.provider_message_id) into v_messages
        from public.messages m
        join public.webhook_events w on w.channel = m.channel and w.event_id = m.provider_message_id
        where m.channel = 'instagram' and starts_with(m.provider_message_id, 'phase9_test_evt_batch_')
          and m.conversation_id = w.conversation_id and m.content_text = w.content and m.sent_at = w.event_date
          and m.direction = 'inbound';
        if cardinality(v_messages) is distinct from 3 then
            raise exception 'there are % right messages of 3 events', coalesce(cardinality(v_messages), 0);
        end if;
        if (select count(distinct (m.conversation_id, m.contact_id)) from public.messages m where m.id = any (v_messages)) <> 1 then
            raise exception 'the messages of one author are not in one conversation';
        end if;
        if exists (select from public.messages m
                   join public.conversations v on v.id = m.conversation_id
                   where m.id = any (v_messages) and coalesce(v.last_message_at < m.sent_at, true)) then
            raise exception 'last_message_at is before the last message';
        end if;
        if v_round = 1 then
            v_first := v_messages;
            update public.webhook_events w
            set routed_at = null, conversation_id = null
            where w.channel = 'instagram' and starts_with(w.event_id, 'phase9_test_evt_batch_');
        elsif v_messages <> v_first then
            raise exception 'routing the events again has replaced their messages';
        end if;
    end loop;
end
$check$;

select w.event_id, w.routed_at is not null as routed, w.conversation_id, m.id as message_id, m.content_text,
       v.last_message_at::text as last_message_at
from public.webhook_events w
join public.messages m on m.channel = w.channel and m.provider_message_id = w.event_id
join public.conversations v on v.id = w.conversation_id
where w.channel = 'instagram' and starts_with(w.event_id, 'phase9_test_evt_batch_')
order by w.event_id;

commit;

select 'test_phase9_implementation' as test, 'passed' as result;
