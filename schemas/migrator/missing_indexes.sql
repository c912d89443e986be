-- Indexes of the router that somebody has dropped, or a dump has left out: those that every database has.
select 'public' as nspname, w.name as relname
from (values ('router_ready_by_event_date'), ('router_ready_by_arrival'), ('router_parked_by_next_attempt'), ('router_threads')
     ) as w (name)
where to_regclass('public.' || w.name) is null
order by 2
