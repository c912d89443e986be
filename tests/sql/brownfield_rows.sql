-- Rows for brownfield.sql: %(events)s events of a tenth as many people, the last hundredth of them not routed yet; every
-- twentieth person has two open conversations. As a superuser: foreign keys are right by construction and not checked.

set session_replication_role = replica;

insert into public.contacts (id, full_name)
select md5('contact ' || n)::uuid, 'Person ' || n
from generate_series(1, %(events)s / 10) n;

insert into public.contact_channels (contact_id, channel, external_id, display_name, is_primary)
select md5('contact ' || n)::uuid, 'instagram', 'person-' || n, 'Person ' || n, true
from generate_series(1, %(events)s / 10) n;

insert into public.conversations (id, contact_id, channel, created_at, last_message_at)
select md5('conversation ' || n)::uuid, md5('contact ' || n)::uuid, 'instagram', now() - interval '90 days',
       now() - interval '1 day'
from generate_series(1, %(events)s / 10) n
union all
select md5('double ' || n)::uuid, md5('contact ' || n)::uuid, 'instagram', now() - interval '60 days', null
from generate_series(20, %(events)s / 10, 20) n;

insert into public.webhook_events (channel, type, event_id, author_id, author_name, content, event_date, conversation_id,
                                   raw_payload, created_at, routed_at)
select 'instagram', 'message', 'event-' || n, 'person-' || p, 'Person ' || p, 'Text ' || n, e.at,
       case when e.routed then md5('conversation ' || p)::uuid end, jsonb_build_object('n', n), e.at,
       case when e.routed then e.at end
from generate_series(1, %(events)s) n,
     lateral (select 1 + n %% (%(events)s / 10) as p, now() - interval '80 days' + n * interval '1 second' as at,
                     n <= %(events)s - %(events)s / 100 as routed) e;

insert into public.messages (conversation_id, contact_id, channel, direction, content_text, provider_message_id, sent_at)
select w.conversation_id, md5('contact ' || substr(w.author_id, 8))::uuid, w.channel, 'inbound', w.content, w.event_id,
       w.event_date
from public.webhook_events w
where w.routed_at is not null;

reset session_replication_role;
