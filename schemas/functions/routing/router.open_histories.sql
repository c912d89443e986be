-- router.open_histories: messages of a history that have come live as well open the conversation that was made for it, and name
-- their author, as if they had come live first.
-- takes: their events, which are routed
-- writes: conversations, see router.adopt_conversations; contacts and contact_channels, see router.note_names; nothing where the
--   application refuses it, and nothing the second time
-- locks: as these, an event after the other
create or replace function router.open_histories(p_events router.event[])
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set jit = off
as $function$
declare
    v_event   router.event;
    v_targets router.target[];
begin
    foreach v_event in array p_events loop
        v_event.normalized := v_event.normalized - 'history';
        v_event.given_conversation_id := null;
        v_targets := router.find_targets(array[v_event], null);
        -- Or else the application has deleted them since.
        continue when v_targets[1].conversation_id is null or v_targets[1].contact_id is null;
        begin
            perform router.note_names_alone(array[v_event], v_targets);
            perform router.adopt_conversations(array[v_event], v_targets);
        exception
            when transaction_rollback or insufficient_resources or operator_intervention or system_error
                 or lock_not_available or invalid_transaction_state then
                raise;
            when others or assert_failure then
                null;
        end;
    end loop;
end
$function$;
