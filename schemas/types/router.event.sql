-- router.event: a row of webhook_events as the routing functions see it, read once, by router.as_event, without its content.
-- A function that takes p_events and p_targets reads them side by side, and each column by its name:
--   from rows from (unnest(p_events), unnest(p_targets)) e
create type router.event as (
    id                    uuid,
    channel               text,
    type                  text,
    event_id              text,
    author_id             text,         -- null when blank
    author_name           text,         -- null when blank
    post_id               text,         -- null when blank
    sent_at               timestamptz,  -- event_date; where there is none, the arrival, or now
    ranked_at             timestamptz,  -- decides which of several is the latest: sent_at, but never later than the arrival
    created_at            timestamptz,
    given_conversation_id uuid,         -- the conversation that the row names already
    normalized            jsonb,        -- what a normaliser knows of it; null: nothing, as for events of applications
    path                  text          -- by which it is being routed, see router.mark_routed; null where it is not
);
