-- router.export_person: all that is kept of a person, but for the bodies of deliveries.
-- takes: as router.erase
-- returns: kind: the table; data: one of its rows
-- reads: as router.rows_of
create or replace function router.export_person(p_channels text[], p_ids text[])
returns table (kind text, data jsonb)
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_custom_plan
set jit = off
as $function$
declare
    v_contacts uuid[] := router.contacts_of(p_channels, p_ids);
    v_rows     record;
begin
    v_rows := router.rows_of(v_contacts, p_channels, p_ids);
    return query
    select 'contacts', to_jsonb(c) from public.contacts c where c.id = any (v_contacts);
    return query
    select 'contact_channels', to_jsonb(k)
    from public.contact_channels k
    where k.contact_id = any (v_contacts)
       or k.contact_id is null
          and (k.channel, k.external_id) in (select i.channel, i.id from unnest(p_channels, p_ids) i (channel, id))
    order by k.channel, k.external_id;
    return query
    select 'conversations', to_jsonb(v)
    from public.conversations v
    where v.id = any (v_rows.conversations || v_rows.shared)
    order by v.created_at, v.id;
    return query
    select 'messages', to_jsonb(m) from public.messages m where m.id = any (v_rows.messages) order by m.sent_at, m.id;
    return query
    select 'message_analysis', to_jsonb(a) from public.message_analysis a where a.message_id = any (v_rows.messages);
    return query
    select 'message_delivery', to_jsonb(d) from public.message_delivery d where d.message_id = any (v_rows.messages);
    return query
    select 'message_reactions', to_jsonb(r)
    from public.message_reactions r
    join public.messages m on m.id = r.message_id
    where r.message_id = any (v_rows.messages)
       or (m.channel, r.actor) in (select i.channel, i.id from unnest(p_channels, p_ids) i (channel, id));
    return query
    select 'message_revisions', to_jsonb(r) from public.message_revisions r where r.message_id = any (v_rows.messages);
    return query
    select 'webhook_events', to_jsonb(w)
    from public.webhook_events w
    where w.id = any (v_rows.events)
    order by w.created_at, w.id;
    return query
    select 'router.parked_events', to_jsonb(p) from router.parked_events p where p.event_id = any (v_rows.events);
    return query
    select 'router.waiting', to_jsonb(w)
    from router.waiting w
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
    return query
    select 'router.watermarks', to_jsonb(w)
    from router.watermarks w
    where (w.channel, w.person) in (select i.channel, i.id from unnest(p_channels, p_ids) i (channel, id));
    return query
    select 'router.referrals', to_jsonb(r)
    from router.referrals r
    where (r.channel, r.person) in (select i.channel, i.id from unnest(p_channels, p_ids) i (channel, id))
       or r.message_id = any (v_rows.messages);
    return query
    select 'router.silent_edits', to_jsonb(s) from router.silent_edits s where s.message_id = any (v_rows.messages);
    return query
    select 'router.open_replies', to_jsonb(o)
    from router.open_replies o
    where o.message_id = any (v_rows.messages)
       or exists (select
                  from public.messages m
                  where m.channel = o.channel and m.provider_message_id = o.ref and m.id = any (v_rows.messages));
end
$function$;
