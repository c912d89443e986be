-- router.make_targets: makes the contacts and conversations that router.find_targets did not find, and locks the contacts
-- that are about to be renamed. It is not called for a batch of known people.
-- takes: events; their targets as router.find_targets returned them; p_careful: one after the other, since a trigger of the
--   application has changed what was inserted; p_names: contacts may be renamed
-- returns: the targets, in the same order, each with its conversation, and with its contact where there is an author
-- raises: a conversation has to be made and the transaction is above "read committed": it would not see what others made
-- raises: RW002 if events rename a contact only because of what another batch has done meanwhile: start again; RW003 if what
--   was inserted is not found: start again, and carefully
-- writes: contacts, contact_channels, conversations
-- locks: new channels in the order of their key, contacts by id, threads by their hash
create or replace function router.make_targets(
    p_events router.event[], p_targets router.target[], p_careful boolean default false, p_names boolean default true
) returns router.target[]
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $function$
declare
    -- The events that lack something, with their places in p_events: the others are not looked up again.
    v_places  integer[];
    v_events  router.event[];
    v_targets router.target[];
    v_locked  uuid[];
    v_threads integer[];
    v_path    text;
    v_seed    constant bytea := router.seed();
    -- A trigger that runs before a row is inserted may change it, and expects what an application does: the contact comes
    -- first, then its channel.
    v_careful constant boolean := p_careful or exists (
        select
        from pg_trigger t
        where t.tgrelid = any (array['public.contacts'::regclass, 'public.contact_channels'::regclass,
                                     'public.conversations'::regclass]::oid[])
          and t.tgtype::integer & 7 = 7  -- before insert, for each row
          and not t.tgisinternal
    );
begin
    select array_agg(e.ordinality), array_agg(p_events[e.ordinality]), array_agg(p_targets[e.ordinality])
    into v_places, v_events, v_targets
    from unnest(p_targets) with ordinality e
    where e.needs_making;

    -- New people. The channel comes first: its key decides between two batches, and only the winner's contact is made.
    -- (Foreign keys are checked at the end of the statement.)
    if exists (select from rows from (unnest(v_events), unnest(v_targets)) e
               where e.contact_id is null and e.author_id is not null) then
        if v_careful then
            v_targets := router.make_people(v_events, v_targets, v_seed);
        else
            v_path := pg_catalog.set_config('search_path', router.application_path(), true);
            with newcomer as (
                select distinct on (e.channel collate pg_catalog."C", e.author_id collate pg_catalog."C")
                    e.channel, e.author_id, e.author_name,
                    case when e.author_name is not null then e.ranked_at end as named_at,
                    router.key_of(v_seed, pg_catalog.row_number() over ()) as contact_id
                from rows from (pg_catalog.unnest(v_events), pg_catalog.unnest(v_targets)) e
                where e.contact_id is null and e.author_id is not null
                order by e.channel collate pg_catalog."C", e.author_id collate pg_catalog."C", (e.author_name is null),
                         e.ranked_at desc, e.author_name collate pg_catalog."C" desc
            ), won as (
                insert into public.contact_channels (contact_id, channel, external_id, display_name, display_name_at, is_primary)
                select n.contact_id, n.channel, n.author_id, n.author_name, n.named_at, true
                from newcomer n
                order by n.channel collate pg_catalog."C", n.author_id collate pg_catalog."C"
                on conflict (channel, external_id) do nothing
                returning contact_id, display_name
            )
            insert into public.contacts (id, full_name)
            select w.contact_id, w.display_name
            from won w
            order by w.contact_id;
            v_path := pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
            v_targets := router.find_targets(v_events, v_targets);
            if exists (select from rows from (unnest(v_events), unnest(v_targets)) e
                       where e.contact_id is null and e.author_id is not null) then
                raise exception using errcode = 'RW003', message = 'a channel was stored with another id';
            end if;
        end if;
    end if;

    -- No key makes the open conversation unique, so the row of its contact serialises the making of one. Contacts that will
    -- be renamed are locked here as well: later it would be out of order.
    v_locked := array(
        select distinct t.contact_id
        from unnest(v_targets) t
        where t.contact_id is not null and (t.conversation_id is null or t.renames and p_names)
        order by t.contact_id
    );
    perform
    from unnest(v_locked) s (contact_id)
    cross join lateral (select from public.contacts c where c.id = s.contact_id limit 1 for no key update) c;

    -- The same for threads, with an advisory lock for each, or one for all if they are many: the server's lock table is small.
    v_threads := array(
        select distinct hashtext(e.channel || ' ' || coalesce(e.normalized ->> 'thread',
                                                              router.thread_of(e.type, e.post_id, e.event_id))) as thread
        from rows from (unnest(v_events), unnest(v_targets)) e
        where e.conversation_id is null and e.author_id is null
              and (e.type = 'comment' or e.normalized ->> 'thread' is not null)
        order by thread
    );
    if cardinality(v_threads) > 64 then
        perform pg_advisory_xact_lock(1920298104, 0);  -- lock: all threads
    elsif cardinality(v_threads) > 0 then
        perform pg_advisory_xact_lock_shared(1920298104, 0);  -- lock: all threads
        perform pg_advisory_xact_lock(1920298102, t.thread) from unnest(v_threads) t (thread);  -- lock: thread
    end if;

    -- While this batch waited, another one may have made the conversations and changed the names.
    v_targets := router.find_targets(v_events, v_targets, p_again => true);
    if p_names and exists (select from unnest(v_targets) t where t.contact_id <> all (v_locked) and t.renames) then
        raise exception using errcode = 'RW002', message = 'another batch was faster';
    end if;
    if exists (select from unnest(v_targets) t where t.conversation_id is null) then
        if current_setting('transaction_isolation') in ('repeatable read', 'serializable') then
            raise exception 'no conversation can be made in a transaction that is "%"', current_setting('transaction_isolation')
                using errcode = 'invalid_transaction_state',
                      hint = 'Two of them could make the same one. Call this in a "read committed" transaction.';
        end if;
        if not v_careful and exists (select from rows from (unnest(v_events), unnest(v_targets)) e
                                     where e.conversation_id is null and e.normalized is null) then
            v_path := pg_catalog.set_config('search_path', router.application_path(), true);
            insert into public.conversations (id, contact_id, channel, channel_conversation_id, status, last_message_at)
            -- Negative numbers: contacts have the positive ones.
            select router.key_of(v_seed, operator(pg_catalog.-) pg_catalog.row_number() over ()),
                   n.contact_id, n.channel, n.thread, 'open', n.ranked_at
            from (
                select e.contact_id, e.channel,
                       case when e.author_id is null then router.thread_of(e.type, e.post_id, e.event_id) end as thread,
                       pg_catalog.max(e.ranked_at) as ranked_at
                from rows from (pg_catalog.unnest(v_events), pg_catalog.unnest(v_targets)) e
                where e.conversation_id is null and e.normalized is null
                group by 1, 2, 3
            ) n;
            v_path := pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
            v_targets := router.find_targets(v_events, v_targets);
            if exists (select from rows from (unnest(v_events), unnest(v_targets)) e
                       where e.conversation_id is null and e.normalized is null) then
                raise exception using errcode = 'RW003', message = 'a conversation was stored in another state';
            end if;
        elsif v_careful then
            v_targets := router.make_conversations(v_events, v_targets, v_seed);
            if exists (select from unnest(v_targets) t where t.conversation_id is null) then
                v_targets := router.find_targets(v_events, v_targets);  -- the others may share those
            end if;
        end if;
        if exists (select from unnest(v_targets) t where t.conversation_id is null) then
            v_targets := router.make_account_conversations(v_events, v_targets, v_seed);
        end if;
    end if;
    for v_number in 1..cardinality(v_places) loop
        p_targets[v_places[v_number]] := v_targets[v_number];
    end loop;
    return p_targets;
end
$function$;
