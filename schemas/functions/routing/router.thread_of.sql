-- router.thread_of: channel_conversation_id of a conversation without a contact.
-- returns: the post of a comment, whose comments share a conversation; the event itself otherwise: it is not known which
--   other events without an author belong together. No event can be named so that it falls into another one's thread: threads
--   of single events begin with their kind, and so do those of posts that look like them
create or replace function router.thread_of(p_type text, p_post_id text, p_event_id text)
returns text
language sql
immutable
as $function$
    select case when p_type operator(pg_catalog.<>) 'comment' then 'message:' operator(pg_catalog.||) p_event_id
                when p_post_id is null then 'comment:' operator(pg_catalog.||) p_event_id
                when p_post_id collate pg_catalog."C" operator(pg_catalog.~) '^(message|comment|post):'
                    then 'post:' operator(pg_catalog.||) p_post_id
                else p_post_id end
$function$;
