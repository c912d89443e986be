-- router.route_batch: one call of the service: routes up to p_limit ready events in the order of their arrival, in one
-- transaction. It can be called again at any time.
-- takes: bounds on (created_at, id), exclusive, and lane, as router.claim_by_arrival; p_bell: 'silence', in each call of a
--   drain, keeps the doorbell from ringing while this session drains, 'arm' lets it ring again before this call looks;
--   p_path, by which path they are routed: 'hot' or 'sweep', see router.mark_routed
-- returns: as router.route_claimed
-- locks: 'silence' takes a session lock, which the server releases if the session ends
create or replace function router.route_batch(
    p_limit    integer,
    p_after_at timestamptz default '-infinity',
    p_after_id uuid        default '00000000-0000-0000-0000-000000000000',
    p_before   timestamptz default 'infinity',
    p_bell     text        default null,
    p_lane     integer     default 0,
    p_lanes    integer     default 1,
    p_path     text        default 'hot'
) returns router.batch
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $function$
begin
    if p_bell = 'silence' then
        -- If another consumer holds it, the bell is silent as well. A writer may hold it for a microsecond: the next call
        -- tries again.
        perform pg_try_advisory_lock(1920298101, 0);  -- lock: doorbell
    elsif p_bell = 'arm' then
        perform pg_advisory_unlock_all();
    end if;
    return router.route_claimed(
        router.claim_by_arrival(p_limit, p_after_at, p_after_id, p_before, p_lane, p_lanes, p_path), p_limit);
end
$function$;
