-- router.time_of: a time as providers write it: seconds or milliseconds since 1970, told apart by their size (a hundred
-- thousand million seconds are the year 5138), as a number or as digits; or ISO 8601.
-- returns: null for anything else: one unreadable time must not cost the other messages of a body
create or replace function router.time_of(p_stamp text)
returns timestamptz
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $function$
begin
    return case
        when p_stamp ~ '^[0-9]{1,11}([.][0-9]{1,9})?$' then to_timestamp(p_stamp::numeric)
        when p_stamp ~ '^[0-9]{12,14}([.][0-9]{1,9})?$' then to_timestamp(p_stamp::numeric / 1000)
        when p_stamp ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+(Z|[+-][0-9:]+)$' then p_stamp::timestamptz
    end;
exception
    when data_exception then
        return null;
end
$function$;
