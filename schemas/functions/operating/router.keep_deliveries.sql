-- router.keep_deliveries: care of the raw inbox: a partition for each of the next days is there, and those are dropped whose
-- deliveries are all older than they are kept. One that holds a delivery which will be tried again stays until then.
-- takes: how long deliveries are kept, counted from their arrival
-- returns: how many deliveries were in what was dropped, as far as statistics know, and were deleted otherwise
-- writes: the catalogue; router.deliveries_default, which holds what came while no partition was there; router.parked_events, see
--   router.forget_parked
-- locks: router.deliveries, for an instant, and not at all while others hold it for longer: what is left is done by the next call
create or replace function router.keep_deliveries(p_keep interval)
returns bigint
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '300ms'
as $function$
declare
    v_oldest  constant timestamptz := now() - p_keep;
    v_today   constant date := (now() at time zone 'UTC')::date;
    v_gone    bigint := 0;
    v_number  bigint;
    v_name    text;
    v_begin   timestamptz;
    v_old     record;
    v_grantee record;
begin
    for v_days in 0..3 loop
        v_begin := (v_today + v_days)::timestamp at time zone 'UTC';
        v_name := 'deliveries_' || to_char(v_today + v_days, 'YYYYMMDD');
        continue when to_regclass('router.' || v_name) is not null;
        begin
            -- Attaching does not hold up those who write to other partitions, as making one in place would.
            execute format('create table router.%I (like router.deliveries including defaults including constraints)', v_name);
            for v_grantee in
                select distinct case a.grantee when 0 then 'public' else a.grantee::regrole::text end as role
                from pg_class c
                cross join aclexplode(c.relacl) a
                where c.oid = ('router.' || v_name)::regclass and a.grantee <> c.relowner
            loop
                execute format('revoke all on router.%I from %s', v_name, v_grantee.role);
            end loop;
            execute format('alter table router.deliveries attach partition router.%I for values from (%L) to (%L)', v_name,
                           v_begin, v_begin + interval '1 day');
        exception
            when lock_not_available or duplicate_table or unique_violation then
                return v_gone;  -- another session makes it at this moment
            when check_violation then
                null;  -- deliveries of that day are in the default partition, and stay there until they are old
        end;
    end loop;

    for v_old in
        select c.oid, c.relname, greatest(c.reltuples, 0)::bigint as number
        from pg_inherits i
        join pg_class c on c.oid = i.inhrelid
        where i.inhparent = 'router.deliveries'::regclass and c.relname ~ '^deliveries_[0-9]{8}$'
          -- Its last moment is that of the next day's beginning.
          and (to_date(substr(c.relname, 12), 'YYYYMMDD') + 1)::timestamp at time zone 'UTC' <= v_oldest
        order by c.relname
    loop
        execute format('select 1 from router.%I d where d.processed_at is null and d.next_attempt_at < ''infinity'' limit 1',
                       v_old.relname);
        get diagnostics v_number = row_count;
        continue when v_number > 0;
        begin
            execute format('drop table router.%I', v_old.relname);
            v_gone := v_gone + v_old.number;
        exception
            when lock_not_available or undefined_table then
                return v_gone;
        end;
    end loop;

    delete from router.deliveries_default d
    where d.received_at < v_oldest and (d.processed_at is not null or d.next_attempt_at = 'infinity');
    get diagnostics v_number = row_count;
    perform router.forget_parked(10000);
    return v_gone + v_number;
end
$function$;
