-- router.ring_doorbell: statement trigger on webhook_events: wakes the consumers, unless one is awake.
-- Every NOTIFY takes a lock of the whole cluster at commit, so a busy system must not send one for each row. An awake consumer
-- holds an advisory lock; trying it costs a microsecond, and in shared mode writers do not exclude each other.
-- While a listener sits in a transaction, the queue of notifications fills up, and once it is full every transaction with a
-- NOTIFY fails at its commit: long before that the bell falls silent, and polling takes over.
-- A transaction that routes what it stores says so by a setting of its own, and rings for nobody.
-- Names are qualified instead of pinning search_path, since setting it and setting it back makes every insert of the session
-- look its own names up again: that alone cost busy writers a twelfth of their rate.
-- locks: a session lock, for a microsecond: one of the transaction would be held until a slow writer commits
create or replace function router.ring_doorbell()
returns trigger
language plpgsql
as $function$
begin
    if pg_catalog.pg_try_advisory_lock_shared(1920298101, 0) then  -- lock: doorbell
        perform pg_catalog.pg_advisory_unlock_shared(1920298101, 0);  -- lock: doorbell
        if pg_catalog.pg_notification_queue_usage() operator(pg_catalog.<) 0.5
           and coalesce(pg_catalog.current_setting('webhook_router.doorbell', true), '') operator(pg_catalog.<>) 'off' then
            notify webhook_router;
        end if;
    end if;
    return null;
end
$function$;

do $trigger$
declare
    v_wanted constant boolean := coalesce((select i.doorbell from router.installation i), true);
    v_exists constant boolean := exists (select from pg_trigger t
                                         where t.tgrelid = 'public.webhook_events'::regclass
                                           and t.tgname = 'webhook_router_doorbell'
                                           and t.tgfoid = 'router.ring_doorbell()'::regprocedure);
begin
    if v_wanted and not v_exists then
        create trigger webhook_router_doorbell after insert on public.webhook_events
            for each statement execute function router.ring_doorbell();
    elsif v_exists and not v_wanted then
        drop trigger webhook_router_doorbell on public.webhook_events;
    end if;
end
$trigger$;
