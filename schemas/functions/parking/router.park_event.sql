-- router.park_event: sets one event aside with its error and the time of its next attempt, see router.next_attempt.
-- takes: the event, its row locked by the caller; SQLSTATE of the error, and router.kind_of it
-- returns: whether the event is dead now
-- raises: what triggers of the application on webhook_events raise; RW005: one of them has the event stay as it is
-- writes: router.parked_events, webhook_events
create or replace function router.park_event(p_event router.event, p_error_code text, p_error_message text)
returns boolean
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $function$
declare
    v_attempts integer;
    v_next     timestamptz;
    v_until    timestamptz;
    v_path     text;
begin
    insert into router.parked_events as p (event_id, channel, error_code, error_message, next_attempt_at)
    values (p_event.id, p_event.channel, p_error_code, left(p_error_message, 1000), 'infinity')
    on conflict (event_id) do update
    set error_code = excluded.error_code, error_message = excluded.error_message, attempts = p.attempts + 1,
        last_parked_at = now(), discarded_at = null
    returning attempts into v_attempts;

    v_next := router.next_attempt(v_attempts);
    update router.parked_events set next_attempt_at = v_next where event_id = p_event.id;
    v_path := pg_catalog.set_config('search_path', router.application_path(), true);
    update public.webhook_events
    set parked_until = v_next
    where id operator(pg_catalog.=) p_event.id
    returning parked_until into v_until;
    v_path := pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    if v_until is null then
        raise exception 'a trigger on webhook_events does not let the event be parked' using errcode = 'RW005';
    end if;
    return v_next = 'infinity';
end
$function$;
