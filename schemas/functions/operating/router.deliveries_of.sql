-- router.deliveries_of: deliveries that hold a message or its text, and effects that wait for it, without their contents.
-- takes: the hash of the message, see router.deliveries; its channel and id
-- returns: deliveries: an array of objects, the latest first, 20 at most: id, provider, received_at, processed_at, error,
--   attempts; waiting: an array of objects: kind, received_at, expires_at, error; deleted_at: when it was deleted by its author,
--   as deliveries have told
-- reads: router.deliveries, router.waiting, router.deleted_messages by index
create or replace function router.deliveries_of(
    p_subject bigint, p_channel text, p_message_id text, p_token text default null,
    out deliveries jsonb, out waiting jsonb, out deleted_at timestamptz
)
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_custom_plan
set enable_seqscan = off
set jit = off
as $function$
declare
    v_channel constant text := router.channel_of(p_channel);
begin
    select jsonb_agg(jsonb_build_object('id', d.id, 'provider', d.provider, 'received_at', d.received_at,
                                        'processed_at', d.processed_at, 'error', d.error, 'attempts', d.attempts)
                     order by d.received_at desc, d.id desc)
    into deliveries
    from (
        select * from router.deliveries d where d.subjects @> array[p_subject] order by d.received_at desc, d.id desc limit 20
    ) d;
    select jsonb_agg(jsonb_build_object('kind', w.kind, 'received_at', w.received_at, 'expires_at', w.expires_at,
                                        'error', w.error) order by w.received_at)
    into waiting
    from (
        select * from router.waiting w where w.channel = v_channel and w.target = p_message_id
        union
        select * from router.waiting w where w.channel = v_channel and w.token = p_token and p_token is not null
    ) w;
    select m.deleted_at into deleted_at from router.deleted_messages m where m.subject = p_subject;
    deliveries := coalesce(deliveries, '[]');
    waiting := coalesce(waiting, '[]');
end
$function$;
