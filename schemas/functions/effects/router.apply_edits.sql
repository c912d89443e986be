-- router.apply_edits: gives messages the texts that their authors have edited them to, and keeps the ones before.
-- takes: effects of the kind "edit", with message_id; content: text, and attachments, all that there are now, where they are told
-- returns: how many of them changed something
-- writes: see router.edit_message; nothing of a message that is deleted
-- locks: messages in the order of their id
create or replace function router.apply_edits(p_effects router.effect[])
returns integer
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set jit = off
as $function$
declare
    v_message uuid;
    v_count   integer := 0;
begin
    foreach v_message in array coalesce(router.lock_messages(p_effects), '{}') loop
        v_count := v_count + router.edit_message(
            v_message, array(select e::router.effect from unnest(p_effects) e where e.message_id = v_message));
    end loop;
    return v_count;
end
$function$;
