-- router.blame_locks: raises an error if somebody else keeps a whole table from being written (by DDL, say): a call that took
-- too long meanwhile says nothing about its events, and none of them may be parked for it.
-- raises: lock_not_available, which names the locks; the caller comes back later
-- reads: pg_locks
create or replace function router.blame_locks()
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $function$
declare
    v_locks text := (
        select string_agg(format('%s (%s by process %s)', l.relation::regclass, l.mode, l.pid), ', ')
        from pg_locks l
        join pg_class c on c.oid = l.relation
        where l.database = (select d.oid from pg_database d where d.datname = current_database()) and l.granted
          and l.mode in ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
          and c.relkind in ('r', 'p') and c.relnamespace in ('public'::regnamespace, 'router'::regnamespace)
          and l.pid <> pg_backend_pid()
    );
begin
    if v_locks is not null then
        raise exception 'routing takes too long while these are locked: %', v_locks using errcode = 'lock_not_available';
    end if;
end
$function$;
