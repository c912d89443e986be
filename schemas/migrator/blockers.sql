-- Who holds locks that a migration may wait for: sessions, and prepared transactions, which no process stands for.
-- returns: what ('tables': locks on tables of the application or of ours; 'builds': prepared transactions of some age that an
--          index build would wait for in silence; 'migrating': the lock of the one session that migrates), who; oldest first.
--          Ages are null without the right to see them.

with held (what, pid, virtualtransaction) as (
    select w.what, l.pid, l.virtualtransaction
    from pg_locks l
    join pg_class c on c.oid = l.relation
    cross join (values ('tables'), ('builds')) as w (what)
    where l.granted
      and l.database = (select d.oid from pg_database d where d.datname = current_database())
      and c.relnamespace in (to_regnamespace('public'), to_regnamespace('router')) and c.relkind = 'r'
      and (w.what = 'tables' or l.pid is null and l.mode not in ('AccessShareLock', 'RowShareLock'))
    union all
    select 'migrating', l.pid, l.virtualtransaction
    from pg_locks l
    where l.granted
      and l.database = (select d.oid from pg_database d where d.datname = current_database())
      and l.locktype = 'advisory' and l.classid = 1920298103 and l.objid = 0 and l.objsubid = 2  -- lock: migration
), holders (what, who, since) as (
    select h.what,
           concat_ws(' ', 'process', a.pid, '(' || a.application_name || ')',
                     round(extract(epoch from clock_timestamp() - coalesce(a.xact_start, a.backend_start)))
                     || case when a.xact_start is null then ' s connected' else ' s old' end),
           coalesce(a.xact_start, a.backend_start)
    from (select distinct what, pid from held) h
    join pg_stat_activity a on a.pid = h.pid
    where a.pid <> pg_backend_pid()
    union all
    select h.what,
           format('prepared transaction %L of %I, %s s old, which ends by: commit prepared %L; or: rollback prepared %L;',
                  x.gid, x.owner, round(extract(epoch from clock_timestamp() - x.prepared)), x.gid, x.gid),
           x.prepared
    from (select distinct what, virtualtransaction from held where pid is null) h
    -- It keeps the lock on its own id, and the virtual id of the session that it was begun in.
    join pg_locks o on o.locktype = 'transactionid' and o.pid is null and o.virtualtransaction = h.virtualtransaction
    join pg_prepared_xacts x on x.transaction = o.transactionid and x.database = current_database()
    -- An application with two-phase commit always has some that are about to be committed.
    where h.what <> 'builds' or x.prepared < clock_timestamp() - interval '5 s'
)
select h.what, h.who from holders h order by h.since
