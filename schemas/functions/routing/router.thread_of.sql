-- router.thread_of: channel_conversation_id of a conversation without a contact.
-- returns: the post of a comment, whose comments share a conversation; the event itself otherwise: it is not known which
--   other events without an author belong together
create or replace function router.thread_of(p_type text, p_post_id text, p_event_id text)
returns text
language sql
immutable
as $function$
    select case when p_type = 'comment' then coalesce(p_post_id, p_event_id) else p_event_id end
$function$;
