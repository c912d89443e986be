-- router.compose_reply: a rule-based reply in French to a message: greeting, thanks, what happens next, closing. It holds
-- nothing that anybody has written: names are what senders call themselves, and may be an advertisement with a link, which would
-- go out in the operator's name.
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
    v_letters text[];  -- e acute, a grave, A grave, o circumflex
begin
    select coalesce(a.needs_escalation, false) as escalate,
           coalesce(a.intent = 'question', strpos(m.content_text collate "C", '?') > 0, false) as is_question
    into v_message
    from public.messages m
    left join lateral (
        select a.needs_escalation, a.intent from public.message_analysis a where a.message_id = m.id limit 1
    ) a on true
    where m.id = p_message_id;
    if not found then
        raise exception 'message not found' using hint = 'No row of messages has this id.';
    end if;
    -- This file is ASCII, so that a database of any encoding takes it; where one has no such letters, they lose their accents.
    begin
        v_letters := string_to_array(convert_from(decode('c3a92cc3a02cc3802cc3b4', 'hex'), 'UTF8'), ',');
    exception
        when untranslatable_character or feature_not_supported or undefined_function then
            v_letters := array['e', 'a', 'A', 'o'];
    end;
    return concat_ws(' ',
        'Bonjour !',
        case when v_message.is_question then 'Merci pour votre question.' else 'Merci pour votre message.' end,
        case when v_message.escalate
             then format('Votre demande est transmise en priorit%1$s %2$s un membre de notre %1$squipe.',
                         v_letters[1], v_letters[2]) end,
        format('Nous revenons vers vous rapidement. %s bient%st !', v_letters[3], v_letters[4]));
end
$function$;
