-- router.join_identities: makes sure that all identities of an author, and all spellings of a number, lead to one contact.
-- Contacts that were made apart are not merged: that they are one person is noted on the channels of both (same_as).
-- takes: events; only those count whose "normalized" has several identities, or other spellings
-- reads: contact_channels and contacts by key
-- writes: contact_channels, contacts (see router.make_person): what the identities lack, as they came
-- locks: for persons of whom something is missing: their canonical ids by hash, then new channels in the order of events
create or replace function router.join_identities(p_events router.event[])
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
    v_places  integer[];
    v_persons integer[];
    v_event   router.event;
    v_people  jsonb;
    v_person  record;
    v_forms   text[];
    v_contact uuid;
    v_home    record;
    v_wishes  jsonb;
    v_room    integer;
    v_seed    bytea;
    v_path    text;
begin
    select array_agg(e.ordinality), array_agg(distinct hashtext(e.channel || ' ' || p.person)) into v_places, v_persons
    from unnest(p_events) with ordinality e
    cross join lateral (
        select count(*) as told, count(k.contact_id) as found, count(distinct k.contact_id) as contacts,
               bool_and(coalesce(k.metadata, '{}') ? 'same_as') as are_linked
        from jsonb_array_elements(coalesce(e.normalized -> 'people',
                                           jsonb_build_array(jsonb_build_object('id', e.author_id)))) p (person)
        left join lateral (
            select k.contact_id, k.metadata
            from public.contact_channels k
            where k.channel = e.channel and k.external_id = p.person ->> 'id'
            limit 1
        ) k on true
    ) f
    cross join lateral jsonb_array_elements_text(coalesce(e.normalized -> 'persons', jsonb_build_array(e.author_id))) p (person)
    where e.author_id is not null and e.normalized ?| array['people', 'forms']
      and (f.found < f.told and (f.told > 1 or e.normalized ? 'forms') or f.contacts > 1 and not f.are_linked);
    if v_places is null then
        return;
    end if;

    if cardinality(v_persons) > 64 then
        perform pg_advisory_xact_lock(1920298106, 0);  -- lock: all people
    else
        perform pg_advisory_xact_lock_shared(1920298106, 0);  -- lock: all people
        perform pg_advisory_xact_lock(1920298105, p.person)  -- lock: person
        from (select p.person from unnest(v_persons) p (person) order by p.person offset 0) p;
    end if;

    v_room := router.room_for_names();
    v_seed := router.seed();
    for v_place in 1..cardinality(p_events) loop
        continue when v_place <> all (v_places);
        v_event := p_events[v_place];
        v_people := coalesce(v_event.normalized -> 'people', jsonb_build_array(jsonb_build_object('id', v_event.author_id)));
        v_forms := array(select jsonb_array_elements_text(v_event.normalized -> 'forms'));
        v_contact := (
            select c.id
            from unnest(array(select p.person ->> 'id' from jsonb_array_elements(v_people) p (person)) || v_forms) i (id)
            cross join lateral (
                select k.contact_id
                from public.contact_channels k
                where k.channel = v_event.channel and k.external_id = i.id
                limit 1
            ) k
            cross join lateral (
                select c.id, c.created_at from public.contacts c where c.id = k.contact_id limit 1
            ) c
            order by c.created_at, c.id
            limit 1
        );
        if v_contact is null then
            v_contact := (router.make_person(
                router.key_of(v_seed, v_place), v_event.channel, v_event.author_id, left(v_event.author_name, v_room),
                case when v_event.author_name is not null then v_event.ranked_at end
            )).contact_id;
        end if;
        for v_person in
            select p.person ->> 'id' as id, p.person ->> 'kind' is distinct from 'user_id' as has_spellings
            from jsonb_array_elements(v_people) with ordinality p (person, place)
            order by p.place
        loop
            perform from public.contact_channels k
            where k.channel = v_event.channel and k.external_id = v_person.id
            limit 1;
            if not found then
                -- A spelling belongs to whom another one of it belongs to, and its owner's wishes hold for all of them.
                select k.contact_id, k.metadata into v_home
                from unnest(v_forms) with ordinality i (id, place)
                cross join lateral (
                    select k.contact_id, k.metadata
                    from public.contact_channels k
                    where k.channel = v_event.channel and k.external_id = i.id
                    limit 1
                ) k
                where v_person.has_spellings
                order by i.place
                limit 1;
                v_wishes := jsonb_strip_nulls(jsonb_build_object(
                    'marketing', v_home.metadata -> 'marketing', 'marketing_at', v_home.metadata -> 'marketing_at',
                    'marketing_ord', v_home.metadata -> 'marketing_ord'));
                begin
                    v_path := pg_catalog.set_config('search_path', router.application_path(), true);
                    if v_wishes operator(pg_catalog.=) '{}' then
                        insert into public.contact_channels (contact_id, channel, external_id, is_primary)
                        values (coalesce(v_home.contact_id, v_contact), v_event.channel, v_person.id, false);
                    else
                        insert into public.contact_channels (contact_id, channel, external_id, is_primary, metadata)
                        values (coalesce(v_home.contact_id, v_contact), v_event.channel, v_person.id, false, v_wishes);
                    end if;
                    v_path := pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
                exception
                    when unique_violation then
                        if exists (select from public.contact_channels k
                                   where k.channel = v_event.channel and k.external_id = v_person.id) then
                            raise;  -- another session was faster: the next round sees it
                        end if;
                        -- A trigger of the application writes it in another form, which is there already.
                end;
            end if;
        end loop;
        if jsonb_array_length(v_people) > 1 then
            perform router.link_identities(v_event.channel, v_people);
        end if;
    end loop;
end
$function$;
