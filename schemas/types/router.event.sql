-- router.event: an event as the routing functions hand it around: what decides where it goes, without its content.
create type router.event as (
    id              uuid,
    channel         text,
    type            text,
    event_id        text,
    author_id       text,         -- null when blank
    author_name     text,
    post_id         text,
    sent_at         timestamptz,  -- event_date, or the arrival where there is none
    created_at      timestamptz,
    has_message     boolean,      -- its message exists already: it makes nothing, it is only marked
    conversation_id uuid,         -- from here on: filled in by router.find_targets
    contact_id      uuid,
    channel_id      uuid,         -- of the author's row in contact_channels
    known_name      text,
    known_name_at   timestamptz
);
