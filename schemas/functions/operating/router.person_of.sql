-- router.person_of: all identities of a person: those of the contact that one of them leads to, and of contacts that are noted as
-- the same person (same_as, see router.link_identities).
-- takes: the channel; an identity in all its spellings
-- returns: contacts: their ids; channels and ids: the identities, those given among them, side by side
-- raises: object_not_in_prerequisite_state if row level security hides rows of a person: nobody would be known
-- reads: contact_channels by key and by contact
create or replace function router.person_of(
    p_channel text, p_ids text[], out contacts uuid[], out channels text[], out ids text[]
)
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
as $function$
declare
    v_known integer := -1;
begin
    perform router.refuse_hidden_person('{r}');
    contacts := '{}';
    channels := array(select router.channel_of(p_channel) from unnest(p_ids));
    ids := p_ids;
    while cardinality(ids) + cardinality(contacts) > v_known loop
        v_known := cardinality(ids) + cardinality(contacts);
        contacts := array(select unnest(contacts) union select unnest(router.contacts_of(channels, ids)) order by 1);
        select array_agg(i.channel order by i.channel, i.id), array_agg(i.id order by i.channel, i.id)
        into channels, ids
        from (
            select i.channel, i.id
            from unnest(channels, ids) i (channel, id)
            union
            select k.channel, k.external_id
            from public.contact_channels k
            where k.contact_id = any (contacts)
            union
            select k.channel, k.metadata ->> 'same_as'
            from public.contact_channels k
            where k.contact_id = any (contacts) and k.metadata ->> 'same_as' is not null
            union
            select k.channel, k.external_id
            from unnest(channels, ids) i (channel, id)
            join public.contact_channels k on k.channel = i.channel and k.metadata ->> 'same_as' = i.id
        ) i;
    end loop;
end
$function$;
