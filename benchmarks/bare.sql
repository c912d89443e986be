-- The bare limit: everything that routing decides is decided beforehand, and what is timed only writes the final rows.
-- bare.prepare() works the rows out, ids included; bare.whole(), bare.steps() and bare.batches(n) write them.
create schema bare;

-- Keys of the same kind as those of the service, which makes them at one moment for all of a batch.
create function bare.key_of(p_kind integer, p_number bigint)
returns uuid
language sql
immutable
as $function$
    select overlay(overlay(lpad(to_hex(1780000000000 + p_number / 1000), 12, '0')
                           || substr(encode(sha256(int4send(p_kind) || int8send(p_number)), 'hex'), 1, 20)
                           placing '7' from 13) placing '8' from 17)::uuid
$function$;

create procedure bare.prepare()
language plpgsql
as $procedure$
begin
    create table bare.event as
    select row_number() over (order by w.created_at, w.id)::integer as n,
           w.id, w.channel, w.event_id, w.content, coalesce(w.event_date, w.created_at) as sent_at,
           case when w.type = 'comment' then jsonb_strip_nulls(jsonb_build_object('type', w.type, 'post_id', w.post_id))
                else '{}' end as metadata,
           w.author_id, w.author_name,
           case when w.author_id is null then case when w.type = 'comment' then coalesce(w.post_id, w.event_id)
                                                   else w.event_id end end as thread
    from public.webhook_events w
    where w.routed_at is null;

    create table bare.contact as
    select min(e.n) as n, bare.key_of(1, min(e.n)) as id, bare.key_of(2, min(e.n)) as channel_id, e.channel, e.author_id,
           max(e.author_name) as author_name, max(e.sent_at) filter (where e.author_name is not null) as named_at
    from bare.event e
    where e.author_id is not null
    group by e.channel, e.author_id
    order by 1;

    create table bare.conversation as
    select min(e.n) as n, bare.key_of(3, min(e.n)) as id, c.id as contact_id, e.channel, e.thread,
           max(e.sent_at) as last_message_at
    from bare.event e
    left join bare.contact c on c.channel = e.channel and c.author_id = e.author_id
    group by c.id, e.channel, e.thread
    order by 1;

    analyze bare.event, bare.contact, bare.conversation;
    create table bare.message as
    select e.n, bare.key_of(4, e.n) as id, e.id as webhook_event_id, coalesce(v.id, t.id) as conversation_id, v.contact_id,
           e.channel, e.content, e.event_id, e.sent_at, e.metadata
    from bare.event e
    left join bare.contact c on c.channel = e.channel and c.author_id = e.author_id
    left join bare.conversation v on v.contact_id = c.id
    left join bare.conversation t on e.author_id is null and t.contact_id is null and t.channel = e.channel
                                 and t.thread = e.thread
    order by e.n;

    create unique index on bare.contact (n, id);
    create unique index on bare.conversation (n, id);
    create unique index on bare.message (n);
    analyze bare.contact, bare.conversation, bare.message;
end
$procedure$;

-- One statement for all of it. Foreign keys are checked at its end.
create procedure bare.whole()
language plpgsql
as $procedure$
begin
    with contact as (
        insert into public.contacts (id, full_name)
        select c.id, c.author_name from bare.contact c order by c.n
    ), channel as (
        insert into public.contact_channels (id, contact_id, channel, external_id, display_name, display_name_at, is_primary)
        select c.channel_id, c.id, c.channel, c.author_id, c.author_name, c.named_at, true from bare.contact c order by c.n
    ), conversation as (
        insert into public.conversations (id, contact_id, channel, channel_conversation_id, status, last_message_at)
        select v.id, v.contact_id, v.channel, v.thread, 'open', v.last_message_at from bare.conversation v order by v.n
    ), message as (
        insert into public.messages (id, conversation_id, contact_id, channel, direction, content_text, provider_message_id,
                                     sent_at, metadata)
        select m.id, m.conversation_id, m.contact_id, m.channel, 'inbound', m.content, m.event_id, m.sent_at, m.metadata
        from bare.message m order by m.n
    )
    update public.webhook_events w
    set conversation_id = m.conversation_id, routed_at = clock_timestamp()
    from bare.message m
    where w.id = m.webhook_event_id;
end
$procedure$;

-- One statement a table for the events from p_after to p_until.
create procedure bare.steps(p_after integer default 0, p_until integer default 2147483647)
language plpgsql
as $procedure$
begin
    insert into public.contacts (id, full_name)
    select c.id, c.author_name from bare.contact c where c.n > p_after and c.n <= p_until order by c.n;

    insert into public.contact_channels (id, contact_id, channel, external_id, display_name, display_name_at, is_primary)
    select c.channel_id, c.id, c.channel, c.author_id, c.author_name, c.named_at, true
    from bare.contact c where c.n > p_after and c.n <= p_until order by c.n;

    insert into public.conversations (id, contact_id, channel, channel_conversation_id, status, last_message_at)
    select v.id, v.contact_id, v.channel, v.thread, 'open', v.last_message_at
    from bare.conversation v where v.n > p_after and v.n <= p_until order by v.n;

    insert into public.messages (id, conversation_id, contact_id, channel, direction, content_text, provider_message_id,
                                 sent_at, metadata)
    select m.id, m.conversation_id, m.contact_id, m.channel, 'inbound', m.content, m.event_id, m.sent_at, m.metadata
    from bare.message m where m.n > p_after and m.n <= p_until order by m.n;

    update public.webhook_events w
    set conversation_id = m.conversation_id, routed_at = clock_timestamp()
    from bare.message m
    where w.id = m.webhook_event_id and m.n > p_after and m.n <= p_until;
end
$procedure$;

-- The same in transactions of p_size events, without a round trip between them. Several sessions share the work when each
-- takes another part of the people, as the service's lanes do: bare.split(n) numbers the events of each part anew.
create procedure bare.batches(p_size integer, p_after integer default 0, p_until integer default 2147483647)
language plpgsql
as $procedure$
declare
    v_last  integer := least(p_until, (select max(m.n) from bare.message m));
    v_after integer := p_after;
begin
    while v_after < v_last loop
        call bare.steps(v_after, least(v_after + p_size, v_last));
        commit;
        v_after := v_after + p_size;
    end loop;
end
$procedure$;

-- Numbers the events so that each of p_parts sessions has a range of its own, in the order of arrival, and shares no
-- conversation with the others. Returns the last number of each part.
create function bare.split(p_parts integer)
returns integer[]
language plpgsql
as $function$
begin
    create temporary table numbered on commit drop as
    select m.n as old, row_number() over (order by abs(hashtext(m.conversation_id::text)::bigint) % p_parts, m.n) as new,
           abs(hashtext(m.conversation_id::text)::bigint) % p_parts as part, m.conversation_id, m.contact_id
    from bare.message m;
    create unique index on numbered (old);
    analyze numbered;
    drop index bare.message_n_idx, bare.contact_n_id_idx, bare.conversation_n_id_idx;
    update bare.message m set n = d.new from numbered d where d.old = m.n;
    update bare.conversation v set n = d.new
    from (select conversation_id, min(new) as new from numbered group by 1) d where d.conversation_id = v.id;
    update bare.contact c set n = d.new
    from (select contact_id, min(new) as new from numbered group by 1) d where d.contact_id = c.id;
    create unique index message_n_idx on bare.message (n);
    create unique index contact_n_id_idx on bare.contact (n, id);
    create unique index conversation_n_id_idx on bare.conversation (n, id);
    analyze bare.contact, bare.conversation, bare.message;
    return array(select max(new)::integer from numbered group by part order by part);
end
$function$;

-- What routing has made, in words that do not depend on the ids: a count and an order-free checksum for each table.
create function bare.outcome()
returns table (what text, rows bigint, checksum numeric)
language sql
stable
as $function$
    with person as (
        select c.id, k.channel, k.external_id,
               row(k.channel, k.external_id, k.display_name, k.display_name_at, k.is_primary, c.full_name, c.email,
                   c.whatsapp_phone)::text as said
        from public.contacts c
        left join public.contact_channels k on k.contact_id = c.id
    ), talk as (
        select v.id, row(p.channel, p.external_id, v.channel, v.channel_conversation_id, v.status, v.subject,
                         v.last_message_at)::text as said
        from public.conversations v
        left join person p on p.id = v.contact_id
    )
    select 'contacts and channels', count(*), sum(hashtextextended(said, 0)::numeric) from person
    union all
    select 'conversations', count(*), sum(hashtextextended(said, 0)::numeric) from talk
    union all
    select 'messages', count(*),
           sum(hashtextextended(row(t.said, p.said, m.channel, m.direction, m.message_type, m.content_text, m.media_url,
                                    m.provider_message_id, m.sent_at, m.metadata)::text, 0)::numeric)
    from public.messages m
    join talk t on t.id = m.conversation_id
    left join person p on p.id = m.contact_id
    union all
    select 'events', count(*),
           sum(hashtextextended(row(w.channel, w.event_id, t.said, w.routed_at is null, w.parked_until)::text, 0)::numeric)
    from public.webhook_events w
    left join talk t on t.id = w.conversation_id
$function$;
