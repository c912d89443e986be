-- router.incoming: an event on its way in, its columns named as those of webhook_events.
create type router.incoming as (
    channel         text,
    type            text,
    event_id        text,
    author_id       text,
    author_name     text,
    content         text,
    event_date      timestamptz,
    post_id         text,
    conversation_id uuid,
    raw_payload     jsonb,
    normalized      jsonb
);
