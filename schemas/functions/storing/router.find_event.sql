-- router.find_event: finds the row of an event whose key a trigger of the application writes in another form: by doing what
-- would store it, and undoing that.
-- returns: its id; null if there is none
-- writes: nothing that stays
create or replace function router.find_event(p_event router.incoming)
returns uuid
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set jit = off
as $function$
declare
    v_id     uuid;
    v_is_new boolean;
    v_path   text;
begin
    v_path := pg_catalog.set_config('search_path', router.application_path(), true);
    insert into public.webhook_events as w (channel, type, event_id, author_id, author_name, content, event_date, post_id,
                                            conversation_id, raw_payload)
    values (router.channel_of(p_event.channel),
            case when pg_catalog.lower(pg_catalog.btrim(p_event.type) collate pg_catalog."C") operator(pg_catalog.=) 'comment'
                 then 'comment' else 'message' end,
            p_event.event_id, p_event.author_id, p_event.author_name, p_event.content,
            coalesce(p_event.event_date, pg_catalog.now()), p_event.post_id, p_event.conversation_id,
            coalesce(p_event.raw_payload, '{}'))
    on conflict (channel, event_id) do update set event_id = w.event_id
    returning w.id, w.xmax::pg_catalog.text operator(pg_catalog.=) '0' into v_id, v_is_new;
    v_path := pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    raise exception using errcode = 'RW003', message = 'undo this';
exception
    when sqlstate 'RW003' then
        return case when not v_is_new then v_id end;
    when transaction_rollback or insufficient_resources or operator_intervention or system_error or lock_not_available then
        raise;
    when others or assert_failure then
        return null;
end
$function$;
