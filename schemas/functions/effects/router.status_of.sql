-- router.status_of: an effect that tells the status of a message that is there.
-- takes: the message; the status; its time, null where it is not known
create or replace function router.status_of(p_message_id uuid, p_status text, p_at timestamptz)
returns router.effect
language sql
immutable
as $function$
    select row(null, 'status', null, null, null, null, null, null, null, null, p_at, '', null,
               pg_catalog.jsonb_build_object('status', p_status), p_at, false, p_message_id, null)::router.effect
$function$;
