-- router.parked: the parked events and their errors, without their content.
-- takes: p_ids: only these events; p_channel; p_error_class: an SQLSTATE, or its beginning; p_older_than, p_newer_than: time
--   since they were first parked; p_state: 'waiting' for another attempt, 'dead' or 'discarded'; p_event_ids: only events with
--   one of these event_id, in any channel; p_error_message: only with this one, as it is returned; p_before, p_before_id: only
--   those that come after the event of this last_parked_at and id. Null is no condition, but discarded events are found only
--   by state, id or event_id. p_limit: null for all
-- returns: the events, the one parked last first; of those that were parked at the same moment the one with the greatest id
create or replace function router.parked(
    p_ids uuid[] default null, p_channel text default null, p_error_class text default null,
    p_older_than interval default null, p_newer_than interval default null, p_state text default null,
    p_limit integer default null, p_event_ids text[] default null, p_error_message text default null,
    p_before timestamptz default null, p_before_id uuid default null
) returns table (
    id uuid, state text, channel text, type text, event_id text, event_date timestamptz, created_at timestamptz,
    attempts integer, error_code text, error_message text, first_parked_at timestamptz, last_parked_at timestamptz,
    next_attempt_at timestamptz, discarded_at timestamptz
)
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set jit = off
as $function$
begin
    return query
    select f.id, f.state, f.channel, f.type, f.event_id, f.event_date, f.created_at, f.attempts, f.error_code,
           router.kind_shown(f.error_code, f.error_message), f.first_parked_at, f.last_parked_at, f.next_attempt_at,
           f.discarded_at
    from router.find_parked(p_ids, p_channel, p_error_class, p_older_than, p_newer_than, p_state, p_limit, p_event_ids,
                            p_error_message, p_before, p_before_id) with ordinality f
    order by f.ordinality;
end
$function$;
