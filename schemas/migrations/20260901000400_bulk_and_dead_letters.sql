-- What bulk loading and the care of dead letters need: both are of the private schema "router", nothing of the
-- application's is touched.

do $migration$
begin
    -- An event on its way in, its columns named as those of webhook_events.
    if to_regtype('router.incoming') is null then
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
            raw_payload     jsonb
        );
    end if;
end
$migration$;

-- Counted beside the backlog, so that an event that an operator has given up is not waiting for one any more.
create index if not exists parked_events_discarded on router.parked_events (discarded_at) where discarded_at is not null;
