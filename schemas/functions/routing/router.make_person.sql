-- router.make_person: makes one author's contact and channel as an application does, the contact first, and goes on with what
-- its triggers have made of them.
-- takes: a key for the contact; the author's channel and id; the name, as long as its columns take it, and its time
-- returns: the contact and the author's channel in it, with the name that it has now. The channel is null if a trigger keeps it
--   out. The contact is another one, and none is made, if a trigger leads the channel to it, or if the channel exists already,
--   perhaps under an id that a trigger has made of this one
-- raises: integrity_constraint_violation if a trigger keeps the contact out; unique_violation
-- writes: contacts, contact_channels. A name that these tables refuse is left out
create or replace function router.make_person(
    p_id uuid, p_channel text, p_author_id text, p_name text, p_named_at timestamptz,
    out contact_id uuid, out channel_id uuid, out known_name text, out known_at timestamptz
)
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $function$
declare
    v_contact uuid;
    v_other   uuid;
    v_after   record;
    v_path    text;
begin
    begin
        v_path := pg_catalog.set_config('search_path', router.application_path(), true);
        insert into public.contacts as c (id, full_name)
        values (p_id, p_name)
        returning c.id into v_contact;
        if v_contact is null then
            raise exception 'a trigger or rule on contacts keeps out the contact of an author'
                using errcode = 'integrity_constraint_violation';
        end if;
        -- No "on conflict": tables with rules, or with a deferrable key, refuse it.
        insert into public.contact_channels as k (contact_id, channel, external_id, display_name, display_name_at, is_primary)
        values (v_contact, p_channel, p_author_id, p_name, p_named_at, true)
        returning k.contact_id, k.id, k.display_name, k.display_name_at into v_other, channel_id, known_name, known_at;
        v_path := pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
        if channel_id is null or v_other = v_contact then
            contact_id := v_contact;
            -- Triggers that run afterwards may have led it to another contact as well.
            select k.contact_id, k.display_name, k.display_name_at into v_after
            from public.contact_channels k
            where k.id = channel_id
            limit 1;
            if found then
                contact_id := v_after.contact_id;
                known_name := v_after.display_name;
                known_at := v_after.display_name_at;
            end if;
            return;
        end if;
        raise exception using errcode = 'RW003', message = 'the channel leads to another contact';
    exception  -- the contact is undone
        when sqlstate 'RW003' then
            null;
        when check_violation or data_exception then
            if p_name is null then
                raise;
            end if;
            select p.* into contact_id, channel_id, known_name, known_at
            from router.make_person(p_id, p_channel, p_author_id, null, null) p;
            return;
        when unique_violation then
            select k.contact_id, k.id, k.display_name, k.display_name_at into contact_id, channel_id, known_name, known_at
            from public.contact_channels k
            where k.channel = p_channel and k.external_id = p_author_id
            limit 1;
            if not found then
                select f.* into contact_id, channel_id, known_name, known_at
                from router.find_person(p_id, p_channel, p_author_id, p_name, p_named_at) f;
            end if;
            if channel_id is null then
                raise;
            end if;
            return;
    end;
    v_path := pg_catalog.set_config('search_path', router.application_path(), true);
    insert into public.contact_channels as k (contact_id, channel, external_id, display_name, display_name_at, is_primary)
    values (v_other, p_channel, p_author_id, p_name, p_named_at, true)
    returning k.contact_id, k.id, k.display_name, k.display_name_at into contact_id, channel_id, known_name, known_at;
    contact_id := coalesce(contact_id, v_other);
end
$function$;
