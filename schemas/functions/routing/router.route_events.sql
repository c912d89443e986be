-- router.route_events: makes everything that claimed events lead to (contact, conversation, message) and marks them routed.
-- The only implementation of routing. It fails as a whole; router.route_or_park deals with that.
-- takes: events whose rows the caller has locked, their targets not looked up yet
-- returns: the number of messages made; the other events had theirs already and were only marked
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
    v_events router.event[];
    v_made   integer;
    -- Looking for messages that exist costs a look-up an event and nearly never finds one, so it is done only when there
    -- is a sign of them: a conversation that the event has already, or a key that is taken.
    v_look   boolean := exists (select from unnest(p_events) e where e.conversation_id is not null);
    v_rounds integer := 0;
begin
    if exists (select from unnest(p_events) e where not isfinite(e.sent_at)) then
        raise exception 'event_date is not a finite time' using errcode = 'datetime_field_overflow';
    end if;
    loop
        v_rounds := v_rounds + 1;
        begin
            v_events := p_events;
            if v_look then
                v_events := router.find_messages(v_events);
            end if;
            v_events := router.find_targets(v_events);
            if exists (select from unnest(v_events) e where router.needs_making(e)) then
                v_events := router.make_targets(v_events);
            end if;
            if not router.note_names(v_events) then
                raise exception using errcode = 'RW002', message = 'another batch was faster';
            end if;
            perform router.touch_conversations(v_events);
            v_made := router.insert_messages(v_events);
            perform router.mark_routed(v_events);
            return v_made;
        exception  -- it has undone names, times and contacts of events that make nothing
            when sqlstate 'RW002' then
                null;  -- the next round sees what the other batch has done
            when unique_violation or foreign_key_violation then
                -- A message exists already, or the application has deleted a target that was just looked up. When it
                -- happens again and again it is something else, a trigger of the application say.
                if v_rounds >= 3 then
                    raise;
                end if;
                v_look := true;
        end;
    end loop;
end
$function$;
