-- router.link_open_replies: says of messages which one they answer, as soon as that is there: the one of the id that they name, or
-- else, for WhatsApp, one of the same conversation whose id has as much in common with it as all ids of one message have.
-- takes: keys of router.open_replies
-- returns: how many are linked now
-- reads: messages by key; see also router.find_reply
-- writes: public.messages (metadata.reply.message_id), router.open_replies
-- locks: messages in the order of their id
create or replace function router.link_open_replies(p_messages uuid[])
returns integer
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_sort = off
set enable_incremental_sort = off
set jit = off
as $function$
declare
    v_done     uuid[];  -- linked, or gone
    v_ids      uuid[];
    v_metadata jsonb[];
    v_path     text;
begin
    with found as materialized (
        select o.message_id, o.ref, m.is_there,
               -- Parameters bring their collation along, and no index of the application's has ours.
               case when m.is_there
                    then router.find_reply(o.channel collate "default", m.conversation_id, o.ref collate "default",
                                           o.token collate "default") end as target
        from (select distinct p.id from unnest(p_messages) p (id) order by p.id) p
        cross join lateral (select o.* from router.open_replies o where o.message_id = p.id limit 1) o
        left join lateral (
            select m.conversation_id, true as is_there from public.messages m where m.id = o.message_id limit 1
        ) m on true
    ), locked as materialized (
        select m.id, m.metadata, f.ref, f.target
        from (select f.* from found f where f.target is not null order by f.message_id) f
        cross join lateral (
            select m.id, m.metadata from public.messages m where m.id = f.message_id limit 1 for no key update
        ) m
    )
    select array(select f.message_id from found f where f.target is not null or f.is_there is null),
           array_agg(l.id order by l.id),
           array_agg(router.object_of(l.metadata)
                     || jsonb_build_object('reply', jsonb_build_object('ref', l.ref, 'message_id', l.target)) order by l.id)
    into v_done, v_ids, v_metadata
    from locked l;
    if v_ids is not null then
        v_path := pg_catalog.set_config('search_path', router.application_path(), true);
        update public.messages m
        set metadata = n.metadata
        from rows from (pg_catalog.unnest(v_ids), pg_catalog.unnest(v_metadata)) n (id, metadata)
        where m.id operator(pg_catalog.=) any (array[n.id]);
        v_path := pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    end if;
    if v_done <> '{}' then
        delete from router.open_replies o where o.message_id = any (v_done);
    end if;
    return coalesce(cardinality(v_ids), 0);
end
$function$;
