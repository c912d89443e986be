-- router.blame_locks: raises an error if somebody else keeps routing from its work: by a lock on a whole table (DDL, say), by
-- a prepared transaction that has locked anything in one of the tables, which nobody may ever end, or by one of the advisory
-- locks that routing takes. A call that took too long meanwhile says nothing about its events, and none of them may be
-- parked for it.
-- raises: lock_not_available, which names the locks; the caller comes back later
-- reads: pg_locks, pg_prepared_xacts, pg_stat_activity
create or replace function router.blame_locks()
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $function$
declare
    v_locks text := (
        select string_agg(distinct format('%s (%s by %s)', coalesce(l.relation::regclass::text, 'an advisory lock of routing'),
                                          l.mode, coalesce('process ' || l.pid, format('the prepared transaction "%s"', x.gid))),
                          ', ')
        from pg_locks l
        left join pg_class c on l.locktype = 'relation' and c.oid = l.relation
        left join pg_locks t on l.pid is null and t.pid is null and t.virtualtransaction = l.virtualtransaction
                                and t.locktype = 'transactionid' and t.mode = 'ExclusiveLock'
        left join pg_prepared_xacts x on x.transaction = t.transactionid
        left join pg_stat_activity a on a.pid = l.pid
        where l.database = (select d.oid from pg_database d where d.datname = current_database()) and l.granted
          and l.pid is distinct from pg_backend_pid()
          and case l.locktype
                  when 'relation' then
                      c.relkind in ('r', 'p') and c.relnamespace in ('public'::regnamespace, 'router'::regnamespace)
                      and (l.mode in ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
                           or (l.pid is null and l.mode <> 'AccessShareLock'))
                  when 'advisory' then
                      l.objsubid = 2
                      and (l.classid::bigint = 1920298102  -- lock: thread
                           or l.classid::bigint = 1920298104  -- lock: all threads
                           or l.classid::bigint = 1920298105  -- lock: person
                           or l.classid::bigint = 1920298106)  -- lock: all people
                      and (l.pid is null or not starts_with(a.application_name, 'webhook-router'))
                  else false
              end
    );
begin
    if v_locks is not null then
        raise exception 'routing takes too long while these are locked: %', v_locks using errcode = 'lock_not_available';
    end if;
end
$function$;
