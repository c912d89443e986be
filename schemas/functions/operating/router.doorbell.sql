-- router.doorbell: whether an insert into webhook_events wakes the service, and what keeps it from that.
-- returns: 'rings'; 'off', installed without it; 'missing', there is no trigger; 'disabled', or it is meant for replicas only;
--   'silenced', somebody else holds its lock: another program, or a prepared transaction; 'replicated', a subscription writes
--   the rows, for which no statement trigger fires; 'full', as it falls silent before the queue of notifications is full
-- reads: router.installation, pg_trigger, pg_locks, pg_stat_activity, pg_subscription_rel
create or replace function router.doorbell()
returns text
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $function$
declare
    v_enabled "char" := (select t.tgenabled
                         from pg_trigger t
                         where t.tgrelid = 'public.webhook_events'::regclass and not t.tgisinternal
                           and t.tgfoid = 'router.ring_doorbell()'::regprocedure
                         order by t.tgenabled in ('O', 'A') desc
                         limit 1);
begin
    if v_enabled is null then
        return case when (select i.doorbell from router.installation i) then 'missing' else 'off' end;
    end if;
    if v_enabled not in ('O', 'A') then
        return 'disabled';
    end if;
    -- Sessions of the service are known by their name. One that the URL gives another name is known to its like, and by its
    -- login, if that is a member of the service's role.
    if exists (select
               from pg_locks l
               join pg_database d on d.oid = l.database
               left join pg_stat_activity a on a.pid = l.pid
               where l.locktype = 'advisory' and d.datname = current_database()
                 and l.classid = 1920298101 and l.objid = 0 and l.objsubid = 2  -- lock: doorbell
                 and l.mode = 'ExclusiveLock' and l.granted
                 and (l.pid is null  -- a prepared transaction
                      or (a.pid is not null and not starts_with(a.application_name, 'webhook-router')
                          and a.application_name <> current_setting('application_name')
                          and not exists (select from pg_auth_members m
                                          where m.roleid = to_regrole('webhook_router_service')
                                            and m.member = a.usesysid)))) then
        return 'silenced';
    end if;
    if exists (select from pg_subscription_rel r where r.srrelid = 'public.webhook_events'::regclass) then
        return 'replicated';
    end if;
    return case when pg_notification_queue_usage() < 0.5 then 'rings' else 'full' end;
end
$function$;
