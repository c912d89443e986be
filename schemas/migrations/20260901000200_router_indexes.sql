-- webhook-router: no transaction
-- Built without blocking writers. Each is partial: an event leaves them all in the update that marks it routed.

-- "Oldest event_date first", for route_unrouted_events; the channel is a key column so that its filter needs no heap visit.
create index concurrently if not exists router_ready_by_event_date
    on public.webhook_events (event_date, id, channel) where routed_at is null and parked_until is null;
-- Arrival order, for the service: a claim starts at its watermark instead of at the dead entries of what was routed.
create index concurrently if not exists router_ready_by_arrival
    on public.webhook_events (created_at, id) where routed_at is null and parked_until is null;
-- Parked events in the order of their next attempt.
create index concurrently if not exists router_parked_by_next_attempt
    on public.webhook_events (parked_until) where routed_at is null and parked_until is not null;
-- Conversations without a contact, by post or event. Its predicate follows from the look-up's "=" alone; one on contact_id
-- or status would need a clause that the planner can also use, badly, with the application's indexes on those columns.
create index concurrently if not exists router_threads
    on public.conversations (channel_conversation_id) where channel_conversation_id is not null;
