-- router.target: where the event at the same place of another array goes, as far as it is known; see router.find_targets.
create type router.target as (
    has_message     boolean,  -- its message exists already: it makes nothing, it is only marked
    conversation_id uuid,
    contact_id      uuid,
    channel_id      uuid,     -- of the author's row in contact_channels
    known_name      text,     -- the author's
    name_is_news    boolean,  -- the event's author name comes after the known one
    renames         boolean,  -- and it is another one
    needs_making    boolean,  -- router.make_targets has something to do for it
    message_id      uuid,     -- of the message that exists already; or that has just been made, if the event has "normalized"
    is_adopted      boolean   -- the conversation is to be given the event's account, or to be opened: it was made for history
);
