-- router.compose_reply: a rule-based reply in French to a message: greeting, thanks, what happens next, closing.
-- raises: "message not found"
create or replace function router.compose_reply(p_message_id uuid)
returns text
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set jit = off
as $function$
declare
    v_message record;
begin
    select m.content_text, coalesce(nullif(btrim(c.first_name), ''), nullif(btrim(c.full_name), '')) as name,
           coalesce(a.needs_escalation, false) as escalate,
           coalesce(a.intent = 'question', position('?' in coalesce(m.content_text, '')) > 0) as is_question
    into v_message
    from public.messages m
    left join lateral (select c.first_name, c.full_name from public.contacts c where c.id = m.contact_id limit 1) c on true
    left join lateral (
        select a.needs_escalation, a.intent from public.message_analysis a where a.message_id = m.id limit 1
    ) a on true
    where m.id = p_message_id;
    if not found then
        raise exception 'message not found' using hint = 'No row of messages has this id.';
    end if;
    return concat_ws(' ',
        'Bonjour' || coalesce(' ' || v_message.name, '') || ' !',
        case when v_message.is_question then 'Merci pour votre question.' else 'Merci pour votre message.' end,
        case when v_message.escalate
             then 'Votre demande est transmise en priorité à un membre de notre équipe.' end,
        'Nous revenons vers vous rapidement. À bientôt !');
end
$function$;
