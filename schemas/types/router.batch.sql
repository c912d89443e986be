-- router.batch: what became of the events of one call.
create type router.batch as (
    claimed    integer,
    inserted   integer,      -- messages made
    parked     integer,
    dead       integer,      -- those of the parked that get no further attempt
    channels   text[],       -- of each routed event
    ages       real[],       -- seconds since created_at, of each routed event
    reached_at timestamptz,  -- everything visible up to here has been claimed, by this call or before
    reached_id uuid,
    seconds    double precision,  -- from the start of the statement to the end of the work, without the commit
    held       integer,      -- claimed, but neither routed nor parked, since the schema is at fault: tried again by the next call
    held_reason text,        -- why most of them are: SQLSTATE, message and object; null if none is held
    faults     integer       -- how many of the held ones are so for a fault of the schema, and not since they cannot be parked
);
