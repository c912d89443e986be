-- One event through the public functions: stored, routed, analysed, and all of it again without any further effect.
--   psql -v ON_ERROR_STOP=1 -f test_phase9_basic.sql
-- Needs the rights of the tables' owner. It is one transaction, so a running service does not come in between; it leaves
-- its own contact, conversation and message for you to look at, and removes them at the start of the next run.

begin;

delete from public.messages m
where m.channel = 'instagram' and m.provider_message_id = 'phase9_test_evt_basic_1';
delete from public.conversations v
using public.contact_channels k
where k.channel = 'instagram' and k.external_id = 'phase9_test_author_basic' and v.contact_id = k.contact_id;
delete from public.contacts c
using public.contact_channels k
where k.channel = 'instagram' and k.external_id = 'phase9_test_author_basic' and c.id = k.contact_id;
delete from public.webhook_events w
where w.channel = 'instagram' and w.event_id = 'phase9_test_evt_basic_1';

select e.row ->> 'id' as id, e.row ->> 'channel' as channel, e.row ->> 'event_id' as event_id,
       e.row ->> 'content' as content, e.row ->> 'routed_at' as routed_at
from (select public.ingest_webhook_event(
          'Instagram', 'message', 'phase9_test_evt_basic_1', 'phase9_test_author_basic', 'Phase Nine',
          'Hello, can you help me?', now() - interval '1 minute', null, null, '{"test": "phase9"}') as row) e;

select public.route_webhook_event('instagram', 'phase9_test_evt_basic_1') as routed;
select public.route_webhook_event('instagram', 'phase9_test_evt_basic_1') as routed_again;

select public.analyze_message_simple(m.id) as analysis
from public.messages m
where m.channel = 'instagram' and m.provider_message_id = 'phase9_test_evt_basic_1';

do $check$
declare
    v_event   record;
    v_message record;
    v_count   integer;
    v_again   jsonb;
begin
    select * into v_event from public.webhook_events w
    where w.channel = 'instagram' and w.event_id = 'phase9_test_evt_basic_1';
    if v_event.routed_at is null or v_event.conversation_id is null then
        raise exception 'the event is not marked as routed';
    end if;
    select count(*) into v_count from public.messages m
    where m.channel = 'instagram' and m.provider_message_id = 'phase9_test_evt_basic_1';
    if v_count <> 1 then
        raise exception 'there are % messages of the event instead of 1', v_count;
    end if;
    select m.*, v.last_message_at, k.external_id into v_message
    from public.messages m
    join public.conversations v on v.id = m.conversation_id
    join public.contact_channels k on k.contact_id = m.contact_id and k.channel = m.channel
    where m.channel = 'instagram' and m.provider_message_id = 'phase9_test_evt_basic_1';
    if v_message.id is null or v_message.external_id <> 'phase9_test_author_basic' then
        raise exception 'the message does not belong to its author';
    end if;
    if v_message.conversation_id <> v_event.conversation_id or v_message.direction <> 'inbound'
       or v_message.content_text is distinct from v_event.content or v_message.sent_at <> v_event.event_date
       or coalesce(v_message.last_message_at < v_event.event_date, true) then
        raise exception 'the message is not what the event says';
    end if;
    v_again := public.route_webhook_event('instagram', 'phase9_test_evt_basic_1');
    if v_again is distinct from jsonb_build_object('conversation_id', v_message.conversation_id, 'message_id', v_message.id) then
        raise exception 'routing the event again returned %', v_again;
    end if;
    if not exists (select from public.message_analysis a
                   where a.message_id = v_message.id and a.intent = 'question' and a.needs_escalation) then
        raise exception 'the analysis is missing or wrong';
    end if;
    begin
        perform public.route_webhook_event('instagram', 'phase9_test_evt_that_is_not_there');
    exception
        when raise_exception then
            if sqlerrm <> 'event not found' then
                raise;
            end if;
            v_count := 0;
    end;
    if v_count <> 0 then
        raise exception 'an unknown event was routed';
    end if;
end
$check$;

select c.full_name, v.status, v.last_message_at, m.direction, m.content_text, a.intent, a.needs_escalation
from public.messages m
join public.conversations v on v.id = m.conversation_id
join public.contacts c on c.id = m.contact_id
join public.message_analysis a on a.message_id = m.id
where m.channel = 'instagram' and m.provider_message_id = 'phase9_test_evt_basic_1';

commit;

select 'test_phase9_basic' as test, 'passed' as result;
