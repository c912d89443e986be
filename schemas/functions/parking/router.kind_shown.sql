-- router.kind_shown: what is shown of a row of router.parked_events, beside its SQLSTATE. Older versions kept the message of the
-- error as it was, with what it quoted of the event: of that only the kind is shown, until the next attempt.
-- takes: error_code and error_message of the row
-- returns: the message and the objects of router.kind_of; the kind where there is no message
create or replace function router.kind_shown(p_code text, p_message text)
returns text
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $function$
declare
    v_condition constant text := router.condition_of(p_code);
begin
    return case
        when p_message in ('takes too long, even alone', 'event_date is not a finite time') then p_message
        when starts_with(p_message, v_condition || ': ') then substr(p_message, length(v_condition) + 3)
        when starts_with(p_message, v_condition || ' (') then p_message
        else v_condition
    end;
end
$function$;
