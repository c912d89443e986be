-- router.note_joined_names: where several channels of a contact have names of their author, the latest of them is the contact's,
-- whichever of the channels it came through, unless somebody has given the contact another one.
-- takes: events and their targets, after router.note_names; only those count whose "normalized" has identities or spellings
-- reads: contact_channels by contact
-- writes: contacts.full_name, only where it changes; nothing where the application refuses a name
create or replace function router.note_joined_names(p_events router.event[], p_targets router.target[])
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $function$
declare
    v_contacts uuid[];
    v_names    text[];
    v_path     text;
begin
    select array_agg(c.id), array_agg(n.display_name) into v_contacts, v_names
    from (
        select distinct k.contact_id
        from rows from (unnest(p_events), unnest(p_targets)) e
        cross join lateral (select k.contact_id from public.contact_channels k where k.id = e.channel_id limit 1) k
        where not e.has_message and e.name_is_news and e.normalized ?| array['people', 'forms']
        order by k.contact_id
    ) t
    cross join lateral (select c.id, c.full_name from public.contacts c where c.id = t.contact_id limit 1) c
    cross join lateral (
        select (array_agg(k.display_name order by k.display_name_at desc, k.display_name collate "C" desc))[1] as display_name,
               bool_or(k.display_name = c.full_name) as is_ours
        from public.contact_channels k
        where k.contact_id = t.contact_id and k.display_name is not null and k.display_name_at is not null
        having count(*) > 1
    ) n
    where n.is_ours and n.display_name <> c.full_name;
    if v_contacts is null then
        return;
    end if;
    v_path := pg_catalog.set_config('search_path', router.application_path(), true);
    update public.contacts c
    set full_name = v_names[r.ordinality], updated_at = pg_catalog.now()
    from pg_catalog.unnest(v_contacts) with ordinality r (id, ordinality)
    where c.id operator(pg_catalog.=) any (array[r.id]);
    v_path := pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
exception
    when check_violation or data_exception then
        null;  -- a message is not refused for the name of its author
end
$function$;
