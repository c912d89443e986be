-- router.contacts_of: the contacts that identities lead to: by their channels, and by a telephone number that the application has
-- noted on a contact which has not written yet.
-- takes: identities, all spellings among them, side by side
-- returns: ids of contacts, in order
-- reads: contact_channels and contacts by key
create or replace function router.contacts_of(p_channels text[], p_ids text[])
returns uuid[]
language sql
stable
set search_path = pg_catalog, pg_temp
as $function$
    select array(
        select k.contact_id
        from unnest(p_channels, p_ids) i (channel, id)
        join public.contact_channels k on k.channel = i.channel and k.external_id = i.id
        where k.contact_id is not null
        union
        select c.id
        from unnest(p_channels, p_ids) i (channel, id)
        join public.contacts c on c.whatsapp_phone = any (array[i.id, '+' || i.id])
        where i.channel = 'whatsapp'
        order by 1
    )
$function$;
