-- The order in which lists of parked events are read, page by page. A batch parks all that it parks at one moment, so the time
-- alone is no place in the list.
create index if not exists parked_events_in_order on router.parked_events (last_parked_at, event_id);
