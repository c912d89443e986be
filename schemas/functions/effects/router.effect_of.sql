-- router.effect_of: an effect as JSON lines, and rows of router.waiting, have it.
-- takes: an object whose fields are named as those of router.effect, but for "id", its atom's; its number in the call; when it
--   has come, which stands for "at" where that is missing; whether it has waited
-- returns: the effect. The only place that lists the columns of router.effect in order
create or replace function router.effect_of(
    p_line jsonb, p_place integer, p_received_at timestamptz, p_is_waiting boolean default false
) returns router.effect
language sql
stable
as $function$
    select pg_catalog.jsonb_populate_record(
        row(p_place, null, p_line operator(pg_catalog.->>) 'id', null, null, null, null, null, null, null, p_received_at, '',
            null, '{}', p_received_at, p_is_waiting, null, null)::router.effect,
        p_line)
$function$;
