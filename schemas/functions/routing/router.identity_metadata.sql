-- router.identity_metadata: metadata of a channel of an identity, with what an event tells of it.
-- takes: metadata as it is; the identity's kind and username, null where they are not told; when they were told
-- returns: the metadata, with the kind, if it had none, and the username, if none is known from later. Names are ordered by
--   time and then by themselves: every order of events ends with the same one
create or replace function router.identity_metadata(p_metadata jsonb, p_kind text, p_username text, p_at timestamptz)
returns jsonb
language sql
stable
as $function$
    select coalesce(p_metadata, '{}')
           operator(pg_catalog.||)
           case when p_kind is null or coalesce(p_metadata, '{}') operator(pg_catalog.?) 'kind' then '{}'
                else pg_catalog.jsonb_build_object('kind', p_kind) end
           operator(pg_catalog.||)
           case when p_username is not null
                     and (p_metadata operator(pg_catalog.->>) 'username_at' is null
                          or pg_catalog.concat(p_metadata operator(pg_catalog.->>) 'username_at', ' ',
                                               p_metadata operator(pg_catalog.->>) 'username') collate pg_catalog."C"
                             operator(pg_catalog.<)
                             pg_catalog.concat(router.stamp_of(p_at), ' ', p_username) collate pg_catalog."C")
                then pg_catalog.jsonb_build_object('username', p_username, 'username_at', router.stamp_of(p_at))
                else '{}' end
$function$;
