-- router.analyze_message: a first, rule-based analysis of a message: question or statement, and whether a person must look.
-- returns: {message_id, intent, sentiment, confidence, needs_escalation}
-- raises: "message not found"
-- writes: message_analysis (one row a message), conversations.metadata when the message escalates for the first time
create or replace function router.analyze_message(p_message_id uuid)
returns jsonb
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set jit = off
as $function$
declare
    v_message  record;
    v_intent   text;
    v_escalate boolean;
    v_path     text;
begin
    select m.conversation_id, btrim(coalesce(m.content_text, '')) as content into v_message
    from public.messages m
    where m.id = p_message_id;
    if not found then
        raise exception 'message not found' using hint = 'No row of messages has this id.';
    end if;
    v_intent := case when v_message.content = '' then 'other'
                     when strpos(v_message.content collate "C", '?') > 0 then 'question'
                     else 'statement' end;
    v_escalate := v_message.content collate "C" ~* '(urgent|help|assistance|support|problem|issue)';

    v_path := pg_catalog.set_config('search_path', router.application_path(), true);
    insert into public.message_analysis as a (message_id, intent, sentiment, confidence, needs_escalation)
    values (p_message_id, v_intent, 'neutral', 0.5, v_escalate)
    on conflict (message_id) do update
    set intent = excluded.intent, sentiment = excluded.sentiment, confidence = excluded.confidence,
        needs_escalation = excluded.needs_escalation, updated_at = pg_catalog.now()
    where (a.intent operator(pg_catalog.=) excluded.intent and a.sentiment operator(pg_catalog.=) excluded.sentiment
           and a.confidence operator(pg_catalog.=) excluded.confidence
           and a.needs_escalation operator(pg_catalog.=) excluded.needs_escalation) is not true;

    if v_escalate then
        update public.conversations v
        set metadata = coalesce(v.metadata, '{}') operator(pg_catalog.||) '{"needs_escalation": true}',
            updated_at = pg_catalog.now()
        where v.id operator(pg_catalog.=) v_message.conversation_id
          and (v.metadata operator(pg_catalog.->>) 'needs_escalation' operator(pg_catalog.=) 'true') is not true;
    end if;
    v_path := pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    return jsonb_build_object('message_id', p_message_id, 'intent', v_intent, 'sentiment', 'neutral', 'confidence', 0.5,
                              'needs_escalation', v_escalate);
end
$function$;
