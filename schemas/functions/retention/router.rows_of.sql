-- router.rows_of: the rows of a person in the tables of the application. A conversation in which another contact has written is not
-- the person's alone: what others wrote there is not among the rows.
-- takes: contacts and identities, all spellings among them, see router.person_of
-- returns: conversations: those of the person alone; shared: others that name a contact of the person; messages; events
-- reads: conversations by contact; messages and webhook_events from one end to the other, unless indexes serve the foreign keys and
--   the authors; what belongs to a message or an event by key. An author is one of the identities that "normalized" may have
create or replace function router.rows_of(
    p_contacts uuid[], p_channels text[], p_ids text[],
    out conversations uuid[], out shared uuid[], out messages uuid[], out events uuid[]
)
language plpgsql
volatile  -- it sees what was committed before the locks of its caller were taken
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_custom_plan
set jit = off
as $function$
begin
    shared := array(
        select v.id
        from public.conversations v
        where v.contact_id = any (p_contacts)
          and exists (select from public.messages m
                      where m.conversation_id = v.id and m.contact_id is not null and m.contact_id <> all (p_contacts))
        order by v.id
    );
    conversations := array(
        select v.id
        from public.conversations v
        where v.contact_id = any (p_contacts) and v.id <> all (shared)
        order by v.id
    );
    messages := array(
        select m.id from public.messages m where m.conversation_id = any (conversations)
        union
        select m.id from public.messages m where m.contact_id = any (p_contacts)
    );
    -- A person may have a hundred thousand of them: each is looked up by its key.
    events := array(
        select w.id
        from public.webhook_events w
        where w.conversation_id = any (conversations)
           or (w.channel, w.author_id) in (select i.channel, i.id from unnest(p_channels, p_ids) i (channel, id))
           or w.routed_at is null
              and exists (select
                          from jsonb_array_elements(case when jsonb_typeof(w.normalized -> 'people') = 'array'
                                                         then w.normalized -> 'people' end) p (person)
                          join unnest(p_channels, p_ids) i (channel, id) on i.channel = w.channel and i.id = p.person ->> 'id')
        union
        select w.id
        from unnest(messages) x (id)
        cross join lateral (select m.channel, m.provider_message_id from public.messages m where m.id = x.id limit 1) m
        cross join lateral (
            select w.id
            from public.webhook_events w
            where w.channel = m.channel and w.event_id = m.provider_message_id
            limit 1
        ) w
        order by 1
    );
    -- A comment has no contact where a thread is nobody's: its message is found by its event.
    messages := array(
        select unnest(messages)
        union
        select m.id
        from unnest(events) x (id)
        cross join lateral (
            select w.channel, w.event_id, w.author_id from public.webhook_events w where w.id = x.id limit 1
        ) w
        cross join lateral (
            select m.id
            from public.messages m
            where m.channel = w.channel and m.provider_message_id = w.event_id
            limit 1
        ) m
        where (w.channel, w.author_id) in (select i.channel, i.id from unnest(p_channels, p_ids) i (channel, id))
        order by 1
    );
end
$function$;
