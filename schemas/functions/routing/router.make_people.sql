-- router.make_people: makes the missing contacts one after the other, for applications whose triggers change what is
-- inserted, or look up the contact of a channel.
-- takes: events; their targets; the seed of the batch's keys
-- returns: the targets, in the same order, each with a contact where there is an author
-- raises, writes: see router.make_person
-- locks: new channels in the order of their key
create or replace function router.make_people(p_events router.event[], p_targets router.target[], p_seed bytea)
returns router.target[]
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set jit = off
as $function$
declare
    v_event   record;
    v_channel text;
    v_author  text;
    v_person  record;
    v_target  router.target;
    v_room    constant integer := router.room_for_names();
    v_ahead   constant timestamptz := clock_timestamp() + interval '1 day';  -- as in router.find_targets
begin
    for v_event in
        select e.ordinality as place, e.channel, e.author_id, e.author_name, e.ranked_at
        from rows from (unnest(p_events), unnest(p_targets)) with ordinality e
        where e.contact_id is null and e.author_id is not null
        order by e.channel collate "C", e.author_id collate "C", (e.author_name is null), e.ranked_at desc,
                 e.author_name collate "C" desc
    loop
        if (v_event.channel, v_event.author_id) is distinct from (v_channel, v_author) then
            v_person := router.make_person(
                router.key_of(p_seed, v_event.place), v_event.channel, v_event.author_id,
                left(v_event.author_name, v_room),
                case when v_event.author_name is not null then v_event.ranked_at end
            );
            v_channel := v_event.channel;
            v_author := v_event.author_id;
        end if;
        v_target := p_targets[v_event.place];
        v_target.contact_id := v_person.contact_id;
        v_target.channel_id := v_person.channel_id;
        v_target.known_name := v_person.known_name;
        v_target.name_is_news := v_event.author_name is not null and v_person.channel_id is not null
            and (v_person.known_at is null or v_person.known_at > v_ahead
                 or (v_person.known_at, coalesce(v_person.known_name, '')) < (v_event.ranked_at, v_event.author_name collate "C"));
        v_target.renames := v_target.name_is_news and v_person.known_name is distinct from v_event.author_name;
        p_targets[v_event.place] := v_target;
    end loop;
    return p_targets;
end
$function$;
