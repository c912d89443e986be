-- router.erase: deletes a person from all tables of the application and of the router, but for the bodies of deliveries, see
-- router.scrub_deliveries. Called again it finds nothing, and deletes nothing.
-- takes: identities of the person, with all their spellings, side by side: see router.person_of
-- returns: how many rows have gone, by table; tables without one are left out
-- raises: what a foreign key or a trigger of the application raises; object_not_in_prerequisite_state if one of them keeps rows
--   without a word, or row level security hides some;
--   lock_not_available if another session has a conversation or an event locked: routing may need the contact next, so waiting for
--   it with the contacts locked would be a deadlock. Nothing has gone then
-- writes: what router.rows_of names, and what refers to it; router.erasures: the numbers, and nothing of the person
-- locks: the contacts by id; the conversations and the events without waiting
create or replace function router.erase(p_channels text[], p_ids text[])
returns jsonb
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_custom_plan
set jit = off
as $function$
declare
    v_contacts uuid[];
    v_channels uuid[];
    v_rows     record;
    v_gone     jsonb := '{}';
    v_count    bigint;
    v_wanted   bigint;
    v_path     text;
begin
    perform router.refuse_hidden_person('{r,w,d}');
    v_contacts := router.contacts_of(p_channels, p_ids);
    -- Routing makes nothing more for them from now on: it waits for these rows, and finds them gone then.
    perform from public.contacts c where c.id = any (v_contacts) order by c.id for update;
    perform from public.conversations v where v.contact_id = any (v_contacts) order by v.id for update nowait;
    v_rows := router.rows_of(v_contacts, p_channels, p_ids);
    perform from public.webhook_events w where w.id = any (v_rows.events) order by w.id for update nowait;

    delete from router.parked_events p where p.event_id = any (v_rows.events);
    get diagnostics v_count = row_count;
    v_gone := v_gone || jsonb_build_object('router.parked_events', v_count);
    delete from router.waiting w
    where (w.channel, w.person) in (select i.channel, i.id from unnest(p_channels, p_ids) i (channel, id))
       or exists (select
                  from public.messages m
                  where m.channel = w.channel and m.provider_message_id = w.target and m.id = any (v_rows.messages))
       or exists (select
                  from public.webhook_events e
                  where e.channel = w.channel and e.event_id = w.atom_id and e.id = any (v_rows.events))
       or exists (select
                  from unnest(p_channels, p_ids) i (channel, id)
                  where i.channel = w.channel and position(to_json(i.id)::text in w.effect::text) > 0);
    get diagnostics v_count = row_count;
    v_gone := v_gone || jsonb_build_object('router.waiting', v_count);
    delete from router.watermarks w
    where (w.channel, w.person) in (select i.channel, i.id from unnest(p_channels, p_ids) i (channel, id));
    get diagnostics v_count = row_count;
    v_gone := v_gone || jsonb_build_object('router.watermarks', v_count);
    delete from router.referrals r
    where (r.channel, r.person) in (select i.channel, i.id from unnest(p_channels, p_ids) i (channel, id))
       or r.message_id = any (v_rows.messages);
    get diagnostics v_count = row_count;
    v_gone := v_gone || jsonb_build_object('router.referrals', v_count);
    delete from router.silent_edits s where s.message_id = any (v_rows.messages);
    get diagnostics v_count = row_count;
    v_gone := v_gone || jsonb_build_object('router.silent_edits', v_count);
    delete from router.open_replies o
    where o.message_id = any (v_rows.messages)
       or exists (select
                  from public.messages m
                  where m.channel = o.channel and m.provider_message_id = o.ref and m.id = any (v_rows.messages));
    get diagnostics v_count = row_count;
    v_gone := v_gone || jsonb_build_object('router.open_replies', v_count);

    v_path := pg_catalog.set_config('search_path', router.application_path(), true);
    delete from public.message_reactions r
    using public.messages m, rows from (pg_catalog.unnest(p_channels), pg_catalog.unnest(p_ids)) i (channel, id)
    where r.message_id operator(pg_catalog.=) m.id and m.channel operator(pg_catalog.=) i.channel
      and r.actor operator(pg_catalog.=) i.id and m.id operator(pg_catalog.<>) all (v_rows.messages);
    get diagnostics v_count = row_count;
    v_path := pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    v_count := v_count + (select count(*) from public.message_reactions r where r.message_id = any (v_rows.messages));
    v_gone := v_gone || jsonb_build_object('message_reactions', v_count);
    v_gone := v_gone || jsonb_build_object(
        'message_delivery', (select count(*) from public.message_delivery d where d.message_id = any (v_rows.messages)),
        'message_revisions', (select count(*) from public.message_revisions r where r.message_id = any (v_rows.messages)));
    v_wanted := (select count(*) from public.message_analysis a where a.message_id = any (v_rows.messages));
    v_path := pg_catalog.set_config('search_path', router.application_path(), true);
    delete from public.message_analysis a where a.message_id operator(pg_catalog.=) any (v_rows.messages);
    get diagnostics v_count = row_count;
    v_path := pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    perform router.refuse_kept('message_analysis', v_wanted, v_count);
    v_gone := v_gone || jsonb_build_object('message_analysis', v_count);

    v_path := pg_catalog.set_config('search_path', router.application_path(), true);
    delete from public.webhook_events w where w.id operator(pg_catalog.=) any (v_rows.events);
    get diagnostics v_count = row_count;
    v_path := pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    perform router.refuse_kept('webhook_events', cardinality(v_rows.events), v_count);
    v_gone := v_gone || jsonb_build_object('webhook_events', v_count);

    v_path := pg_catalog.set_config('search_path', router.application_path(), true);
    delete from public.messages m where m.id operator(pg_catalog.=) any (v_rows.messages);
    get diagnostics v_count = row_count;
    v_path := pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    perform router.refuse_kept('messages', cardinality(v_rows.messages), v_count);
    v_gone := v_gone || jsonb_build_object('messages', v_count);

    -- What others wrote there stays, whatever a foreign key of the application would do.
    v_path := pg_catalog.set_config('search_path', router.application_path(), true);
    update public.conversations v
    set contact_id = null
    where v.id operator(pg_catalog.=) any (v_rows.shared);
    delete from public.conversations v where v.id operator(pg_catalog.=) any (v_rows.conversations);
    get diagnostics v_count = row_count;
    v_path := pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    perform router.refuse_kept('conversations', cardinality(v_rows.conversations), v_count);
    v_gone := v_gone || jsonb_build_object('conversations', v_count);

    v_channels := array(
        select k.id
        from public.contact_channels k
        where k.contact_id = any (v_contacts)
           or k.contact_id is null
              and (k.channel, k.external_id) in (select i.channel, i.id from unnest(p_channels, p_ids) i (channel, id))
        order by k.id
    );
    v_path := pg_catalog.set_config('search_path', router.application_path(), true);
    delete from public.contact_channels k where k.id operator(pg_catalog.=) any (v_channels);
    get diagnostics v_count = row_count;
    v_path := pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    perform router.refuse_kept('contact_channels', cardinality(v_channels), v_count);
    v_gone := v_gone || jsonb_build_object('contact_channels', v_count);

    v_path := pg_catalog.set_config('search_path', router.application_path(), true);
    delete from public.contacts c where c.id operator(pg_catalog.=) any (v_contacts);
    get diagnostics v_count = row_count;
    v_path := pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    perform router.refuse_kept('contacts', cardinality(v_contacts), v_count);
    v_gone := v_gone || jsonb_build_object('contacts', v_count);

    -- What is deferred to the commit may refuse it as well, and is to do so with a name.
    perform router.check_deferred(router.deferred_constraints(true));
    v_path := pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    v_gone := (select coalesce(jsonb_object_agg(g.key, g.value), '{}') from jsonb_each(v_gone) g where g.value <> '0');
    if v_gone <> '{}' then
        insert into router.erasures (erased_by, gone) values (session_user, v_gone);
    end if;
    return v_gone;
end
$function$;
