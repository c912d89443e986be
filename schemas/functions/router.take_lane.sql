-- router.take_lane: waits for its turn in a lane, but not for long: whoever has it may be at an event that hangs, and then
-- the others go on beside it, as they do everywhere else.
-- locks: the lane, until the end of the transaction, unless it is not to be had within 0.3 s: several batches
create or replace function router.take_lane(p_lane integer, p_lanes integer)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $function$
declare
    v_limit constant text := current_setting('lock_timeout');
begin
    perform set_config('lock_timeout', '300ms', true);
    perform pg_advisory_xact_lock(1920298103, (p_lanes << 16) + p_lane);
    perform set_config('lock_timeout', v_limit, true);
exception
    when lock_not_available then
        null;  -- the setting is undone as well
end
$function$;
