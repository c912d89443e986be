-- router.find_message: finds the message of an event whose id a trigger of the application writes in another form: by doing
-- what would make it, and undoing that.
-- takes: the event; its target
-- returns: the message and its conversation; null if there is none
-- writes: nothing that stays
create or replace function router.find_message(
    p_event router.event, p_target router.target, out message_id uuid, out conversation_id uuid
)
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set jit = off
as $function$
declare
    v_is_new boolean;
    v_path   text;
begin
    v_path := pg_catalog.set_config('search_path', router.application_path(), true);
    insert into public.messages as m (id, conversation_id, contact_id, channel, direction, content_text, provider_message_id,
                                      sent_at, metadata)
    select pg_catalog.gen_random_uuid(), p_target.conversation_id, p_target.contact_id, p_event.channel, 'inbound', w.content,
           p_event.event_id, p_event.sent_at, router.metadata_of(p_event.type, p_event.post_id)
    from public.webhook_events w
    where w.id operator(pg_catalog.=) p_event.id
    on conflict (channel, provider_message_id) where provider_message_id is not null
    do update set provider_message_id = m.provider_message_id
    returning m.id, m.conversation_id, m.xmax::pg_catalog.text operator(pg_catalog.=) '0'
    into message_id, conversation_id, v_is_new;
    v_path := pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    raise exception using errcode = 'RW003', message = 'undo this';
exception
    when sqlstate 'RW003' then
        if v_is_new then
            message_id := null;
            conversation_id := null;
        end if;
    when transaction_rollback or insufficient_resources or operator_intervention or system_error or lock_not_available then
        raise;
    when others or assert_failure then
        message_id := null;
        conversation_id := null;
end
$function$;
