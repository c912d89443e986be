-- router.effect: an atom that changes what is there, on its way from a delivery, or from router.waiting, to its target.
create type router.effect as (
    place           integer,      -- its number in the call
    kind            text,
    atom_id         text,
    channel         text,
    target          text,         -- the message that it changes, as the body names it; null: it is about a person
    token           text,         -- what the target's wamids have in common
    account         text,
    person          text,         -- the other party's id, as it came
    canonical       text,         -- and in the one form that all spellings of a number share
    forms           text[],       -- its other spellings
    at              timestamptz,
    ord             text,
    subject         bigint,       -- the hash of the target, see router.deliveries
    content         jsonb,        -- what it says, by kind
    received_at     timestamptz,
    is_waiting      boolean,      -- it comes from router.waiting
    message_id      uuid,         -- its target, once it is found
    conversation_id uuid          -- of that message
);
