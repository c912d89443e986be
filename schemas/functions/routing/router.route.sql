-- router.route: makes what claimed events need (contact, conversation, message) and marks them routed.
-- The only implementation of routing. It fails as a whole; router.route_or_hold deals with that.
-- takes: events whose rows the caller has locked; p_constraints, what is checked in the end: see router.check_deferred; p_tell:
--   return an error of the events' or the schema's instead of raising it, with nothing done: a caller that catches it would need a
--   subtransaction of its own, which costs every call one more transaction id
-- returns: made: the number of messages made; the other events had a message already and were only marked; message_id, for a
--   single event: its message, null if a trigger of the application keeps it out; error, see p_tell
-- raises: what will pass (deadlock, lock timeout, full disk, shutdown); anything else unless p_tell
-- writes: contacts, contact_channels, conversations, messages, webhook_events, router.parked_events; for events with
--   "normalized" also router.open_replies, and what router.settle writes
-- locks: in one order in every batch (people by hash, new channels by key, contacts by id, threads, channels by key,
--   conversations by id), and all of them before the application's triggers on messages run. Batches that share contacts may
--   wait for each other but do not deadlock
create or replace function router.route(
    p_events router.event[], p_constraints text default '', p_tell boolean default false,
    out made integer, out message_id uuid, out error router.fault
)
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $function$
declare
    v_targets    router.target[];
    v_rounds     integer := 0;
    v_stage      text;
    v_look       boolean;
    v_endless    boolean;
    v_makes      boolean;
    v_normalized bigint;  -- how many of the events a normaliser has told more of
    v_careful    boolean := false;  -- one row after the other, each taken as it was stored
    v_names      text := 'together';
    v_detail     text;
    v_rewritten  jsonb;
    v_ends       boolean := false;
begin
    -- Looking for existing messages costs a look-up an event and hardly ever finds one, so it is done only if there is a
    -- sign of them: a conversation that the event has already, a key that is taken, or that the application may have sent it.
    if cardinality(p_events) = 1 then  -- a query costs ten times as much
        v_look := p_events[1].given_conversation_id is not null
                  or (p_events[1].normalized ->> 'direction') is not distinct from 'outbound';
        v_endless := not isfinite(p_events[1].sent_at);
        v_normalized := (p_events[1].normalized is not null)::integer;
    else
        select bool_or(e.given_conversation_id is not null or e.normalized ->> 'direction' is not distinct from 'outbound'),
               bool_or(not isfinite(e.sent_at)), count(e.normalized)
        into v_look, v_endless, v_normalized
        from unnest(p_events) e;
    end if;
    loop
        v_rounds := v_rounds + 1;
        begin
            v_stage := 'find';
            if v_endless then
                raise exception 'event_date is not a finite time' using errcode = 'datetime_field_overflow';
            end if;
            if v_normalized > 0 then
                perform router.join_identities(p_events);
            end if;
            v_targets := case when v_look then router.find_messages(p_events, v_rewritten) end;
            v_targets := router.find_targets(p_events, v_targets);
            v_stage := 'make';
            v_makes := v_targets[1].needs_making;
            if cardinality(v_targets) > 1 then
                v_makes := exists (select from unnest(v_targets) t where t.needs_making);
            end if;
            if v_makes then
                v_targets := router.make_targets(p_events, v_targets, v_careful, v_names <> 'left out');
            end if;
            v_stage := 'names';
            if v_normalized > 0 then
                perform router.note_identities(p_events);
            end if;
            if v_names = 'together' and not router.note_names(p_events, v_targets)
               or v_names = 'alone' and not router.note_names_alone(p_events, v_targets) then
                raise exception using errcode = 'RW002', message = 'another batch was faster';
            end if;
            if v_normalized > 0 then
                perform router.note_joined_names(p_events, v_targets);
            end if;
            v_stage := 'messages';
            if v_normalized > 0 and not router.adopt_conversations(p_events, v_targets) then
                raise exception using errcode = 'RW002', message = 'another batch was faster';
            end if;
            perform router.touch_conversations(p_events, v_targets);
            if cardinality(p_events) > 1 or v_targets[1].has_message or v_careful and v_look then
                select m.made, m.message_id, coalesce(m.targets, v_targets) into made, message_id, v_targets
                from router.insert_messages(p_events, v_targets, v_normalized, v_careful and v_look) m;
            else
                message_id := router.insert_message(p_events[1], v_targets[1], router.key_of(router.seed(), 1));
                made := (message_id is not null)::integer;
                if v_normalized > 0 then
                    v_targets[1].message_id := message_id;
                end if;
            end if;
            perform router.mark_routed(p_events, v_targets);
            if v_normalized > 0 then
                perform router.settle(p_events, v_targets);
            end if;
            if p_constraints is distinct from '' then
                v_stage := 'deferred';  -- at the commit it would be too late to find the failing event
                perform router.check_deferred(p_constraints);
            end if;
            return;
        exception  -- everything since the beginning of this round is undone
            when transaction_rollback or insufficient_resources or operator_intervention or system_error
                 or lock_not_available or invalid_transaction_state then
                raise;
            when others or assert_failure then
                if v_stage = 'deferred' or sqlstate in ('RW002', 'RW003') and v_rounds >= 9 then
                    v_ends := true;  -- it is the application that raises it
                elsif sqlstate = 'RW002' then
                    -- The next round sees what the other batch did. Names are not worth more than a few rounds.
                    v_names := case when v_rounds >= 5 then 'left out' else v_names end;
                elsif sqlstate = 'RW003' then
                    -- A trigger of the application has changed what was inserted.
                    v_careful := true;
                    if v_stage = 'messages' then
                        get stacked diagnostics v_detail = pg_exception_detail;
                        v_rewritten := nullif(v_detail, '');
                    end if;
                elsif v_stage = 'names' and v_names = 'together' then
                    v_names := 'alone';  -- the application refuses one of them
                elsif v_stage = 'make' and not v_careful and left(sqlstate, 2) <> '54' then
                    v_careful := true;  -- the application may accept it in its own order; no order helps an id that is too long
                elsif sqlstate in ('23505', '23503')  -- unique, foreign key
                      and v_rounds < 9 and (v_rounds < 3 or not (v_look and v_careful)) then
                    -- A message exists already, or the application has deleted a target that was just looked up.
                    v_careful := v_careful or v_look;
                    v_look := true;
                else
                    v_ends := true;
                end if;
                if v_ends and not p_tell then
                    raise;
                elsif v_ends then
                    get stacked diagnostics
                        error.code = returned_sqlstate, error.message = message_text, error.context = pg_exception_context,
                        error.schema_name = schema_name, error.table_name = table_name, error.column_name = column_name,
                        error.constraint_name = constraint_name;
                    made := 0;
                    message_id := null;
                    return;
                end if;
        end;
    end loop;
end
$function$;
