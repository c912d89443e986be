-- router.note_names_alone: router.note_names for one event after the other, after the application (a column, a check, a
-- trigger) has refused one of the names. One that is too long is cut, and another one that is refused is left out: a message is
-- not refused for the name of its author.
-- takes, returns, writes, locks: as router.note_names
create or replace function router.note_names_alone(p_events router.event[], p_targets router.target[])
returns boolean
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set jit = off
as $function$
declare
    v_room  constant integer := router.room_for_names();
    v_place bigint;
    v_done  boolean := true;
begin
    for v_place in
        select e.ordinality
        from rows from (unnest(p_events), unnest(p_targets)) with ordinality e
        where not e.has_message and e.name_is_news
        order by e.channel collate "C", e.author_id collate "C", e.ranked_at desc, e.author_name collate "C" desc
    loop
        p_events[v_place].author_name := left(p_events[v_place].author_name, v_room);
        begin
            v_done := router.note_names(p_events[v_place:v_place], p_targets[v_place:v_place]) and v_done;
        exception
            when transaction_rollback or insufficient_resources or operator_intervention or system_error
                 or lock_not_available then
                raise;
            when others or assert_failure then
                null;
        end;
    end loop;
    return v_done;
end
$function$;
