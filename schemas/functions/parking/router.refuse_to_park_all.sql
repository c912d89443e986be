-- router.refuse_to_park_all: passes on an error that every event of a batch met and that is about the schema or about rights
-- (SQLSTATE class 42): a trigger uses a column that is missing, say. The events are not to blame, and none is parked for it.
-- takes: ids of the events, just parked in this transaction
-- raises: the error, which undoes the parking
create or replace function router.refuse_to_park_all(p_ids uuid[])
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $function$
declare
    v_error record;
begin
    select p.error_code, p.error_message, count(*) as events into v_error
    from router.parked_events p
    where p.event_id = any (p_ids) and p.error_code like '42%'
    group by p.error_code, p.error_message
    order by count(*) desc
    limit 1;
    if v_error.events = cardinality(p_ids) then
        raise exception 'every event of a batch fails with SQLSTATE %', v_error.error_code
            using errcode = 'object_not_in_prerequisite_state',
                  detail = v_error.error_message,  -- for the server's log only: a trigger's message may quote the event
                  hint = 'Nothing was parked. Is a trigger of the application on these tables broken, or without rights?';
    end if;
end
$function$;
