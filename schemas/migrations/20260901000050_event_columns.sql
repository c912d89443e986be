-- Two nullable columns of webhook_events: no rewrite, no scan. They are a migration of their own, since whoever waits for
-- another table's lock must not hold this table's meanwhile.

do $migration$
begin
    -- "if not exists" would take the exclusive lock only to find out that there is nothing to do.
    if not exists (select from pg_attribute
                   where attrelid = 'public.webhook_events'::regclass and attname = 'routed_at' and not attisdropped) then
        alter table public.webhook_events add column routed_at timestamptz;
    end if;
    -- Set while a parked event waits for its next attempt ('infinity': no attempt is left). It is a column of the event,
    -- and not only a row elsewhere, so that the partial indexes of what is ready do not contain parked events at all.
    if not exists (select from pg_attribute
                   where attrelid = 'public.webhook_events'::regclass and attname = 'parked_until' and not attisdropped) then
        alter table public.webhook_events add column parked_until timestamptz;
    end if;
end
$migration$;
