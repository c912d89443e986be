-- router.route_events: makes what claimed events need (contact, conversation, message) and marks them routed.
-- The only implementation of routing. It fails as a whole; router.route_or_park deals with that.
-- takes: events whose rows the caller has locked
-- returns: the number of messages made; the other events had a message already and were only marked
-- writes: contacts, contact_channels, conversations, messages, webhook_events, router.parked_events
-- locks: in one order in every batch (new channels by key, contacts by id, threads, channels by key, conversations
--   by id), and all of them before the application's triggers on messages run. Batches that share contacts may wait for
--   each other but do not deadlock
create or replace function router.route_events(p_events router.event[])
returns integer
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $function$
declare
    v_targets router.target[];
    v_made    integer;
    v_rounds  integer := 0;
    v_look    boolean;
    v_endless boolean;
begin
    -- Looking for existing messages costs a look-up an event and hardly ever finds one, so it is done only if there is a
    -- sign of them: a conversation that the event has already, or a key that is taken.
    select bool_or(e.given_conversation_id is not null), bool_or(not isfinite(e.sent_at)) into v_look, v_endless
    from unnest(p_events) e;
    if v_endless then
        raise exception 'event_date is not a finite time' using errcode = 'datetime_field_overflow';
    end if;
    loop
        v_rounds := v_rounds + 1;
        begin
            v_targets := case when v_look then router.find_messages(p_events) end;
            v_targets := router.find_targets(p_events, v_targets);
            if exists (select from unnest(v_targets) t where t.needs_making) then
                v_targets := router.make_targets(p_events, v_targets);
            end if;
            if not router.note_names(p_events, v_targets) then
                raise exception using errcode = 'RW002', message = 'another batch was faster';
            end if;
            perform router.touch_conversations(p_events, v_targets);
            v_made := router.insert_messages(p_events, v_targets);
            perform router.mark_routed(p_events, v_targets);
            return v_made;
        exception  -- everything since the beginning of this round is undone
            when sqlstate 'RW002' then
                null;  -- the next round sees what the other batch did
            when unique_violation or foreign_key_violation then
                -- A message exists already, or the application has deleted a target that was just looked up. If it happens
                -- again and again, there is another reason: a trigger of the application, say.
                if v_rounds >= 3 then
                    raise;
                end if;
                v_look := true;
        end;
    end loop;
end
$function$;
