-- router.find_conversations: router.find_targets for events with "normalized", whose conversations belong to an account of ours.
-- takes: events; their targets as far as router.find_targets fills them in; those of other events stay as they are
-- returns: the targets, in the same order, with
--   - the conversation and contact of the comment that a comment of our own answers,
--   - of two contacts that are one person (see router.join_identities), the older one,
--   - the newest open conversation of the contact, or thread, with the account, else one without an account, else the one
--     that was made for its history
-- reads: messages and contact_channels by key, contacts and conversations by contact or thread, as router.find_targets
create or replace function router.find_conversations(p_events router.event[], p_targets router.target[])
returns router.target[]
language plpgsql
volatile  -- each call sees what others have committed since the last one
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $function$
begin
    return (
        select array_agg(row(e.has_message, f.conversation_id, f.contact_id, e.channel_id, e.known_name, e.name_is_news,
                             e.renames,
                             not e.has_message and (f.conversation_id is null
                                                    or e.author_id is not null and f.contact_id is null
                                                    or e.renames),
                             e.message_id, coalesce(e.is_adopted, false) or coalesce(v.is_adopted, t.is_adopted, false)
                            )::router.target)
        from rows from (unnest(p_events), unnest(p_targets)) e
        left join lateral (
            select m.conversation_id, m.contact_id
            from public.messages m
            where e.conversation_id is null and e.normalized ->> 'own_comment' is not null and m.channel = e.channel
              and m.provider_message_id >= e.normalized ->> 'reply' and m.provider_message_id <= e.normalized ->> 'reply'
            order by m.provider_message_id
            limit 1
        ) m on true
        left join lateral (
            select c.id
            from public.contact_channels k
            cross join lateral (
                select o.contact_id
                from public.contact_channels o
                where o.channel = k.channel and o.external_id = k.metadata ->> 'same_as'
                limit 1
            ) o
            cross join lateral (
                select c.id
                from public.contacts c
                where c.id = any (array[k.contact_id, o.contact_id])
                order by c.created_at, c.id
                limit 1
            ) c
            where e.normalized is not null and k.id = e.channel_id
            limit 1
        ) s on true
        cross join lateral (
            select coalesce(s.id, e.contact_id, m.contact_id) as contact_id,
                   coalesce(e.conversation_id, m.conversation_id) as conversation_id,
                   e.normalized ->> 'account' as account,
                   e.normalized ->> 'thread' as thread,
                   e.normalized ->> 'history' is not null as is_history
        ) g
        left join lateral (
            select v.id,
                   v.account_id is null and g.account is not null
                   or v.channel_conversation_id is null and g.thread is not null
                   or not g.is_history and coalesce(v.metadata, '{}') ? 'history' as is_adopted
            from public.conversations v
            where e.normalized is not null and g.conversation_id is null
              and v.contact_id = g.contact_id and v.channel is not distinct from e.channel
              and (v.status is not distinct from 'open'
                   or v.status is not distinct from 'closed' and coalesce(v.metadata, '{}') ? 'history')
              and (v.account_id is null or g.account is null or v.account_id = g.account)
            order by v.status is not distinct from 'open' desc, v.account_id is not null and g.account is not null desc,
                     v.created_at desc, v.id desc
            limit 1
        ) v on true
        left join lateral (
            select v.id, v.account_id is null and g.account is not null as is_adopted
            from public.conversations v
            where e.normalized is not null and g.conversation_id is null and e.author_id is null
              and v.channel_conversation_id = coalesce(g.thread, router.thread_of(e.type, e.post_id, e.event_id))
              and v.channel is not distinct from e.channel and v.status is not distinct from 'open'
              and v.contact_id is not distinct from g.contact_id  -- null: there is no author
              and (v.account_id is null or g.account is null or v.account_id = g.account)
            order by v.account_id is not null and g.account is not null desc, v.created_at desc, v.id desc
            limit 1
        ) t on true
        cross join lateral (
            select coalesce(g.conversation_id, v.id, t.id) as conversation_id, g.contact_id
        ) f
    );
end
$function$;
