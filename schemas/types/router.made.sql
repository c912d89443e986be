-- router.made: a message that has just been made from an event with "normalized", for what has waited for it.
create type router.made as (
    channel         text,
    event_id        text,         -- its provider_message_id, as the event has it
    token           text,         -- what all of its wamids have in common
    account         text,
    persons         text[],       -- the other party, by each identity in its canonical form
    message_id      uuid,
    conversation_id uuid,
    direction       text,
    sent_at         timestamptz,
    status          text,         -- how far it had come already, for one of a history
    path            text          -- by which its event was routed
);
