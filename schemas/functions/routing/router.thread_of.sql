-- router.thread_of: channel_conversation_id of a conversation without a contact.
-- returns: comments of one post share one; nobody knows whether other events without an author belong together, so each
--   has a conversation of its own
create or replace function router.thread_of(p_type text, p_post_id text, p_event_id text)
returns text
language sql
immutable
as $function$
    select case when p_type = 'comment' then coalesce(p_post_id, p_event_id) else p_event_id end
$function$;
