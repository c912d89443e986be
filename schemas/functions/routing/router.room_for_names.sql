-- router.room_for_names: how many characters of a name both of the application's columns for it take.
-- returns: the smaller n of varchar(n) or char(n), or of domains over them; for other types more than a text can have
create or replace function router.room_for_names()
returns integer
language plpgsql
stable
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $function$
begin
    return (
        select coalesce(min(r.room), 2147483647)
        from (
            select coalesce(nullif(a.atttypmod, -1), t.typtypmod) - 4 as room
            from pg_attribute a
            join pg_type t on t.oid = a.atttypid
            where (a.attrelid = 'public.contact_channels'::regclass::oid and a.attname = 'display_name'
                   or a.attrelid = 'public.contacts'::regclass::oid and a.attname = 'full_name')
              and coalesce(nullif(t.typbasetype, 0::oid), t.oid) in (1042::oid, 1043::oid)  -- char and varchar
        ) r
        where r.room > 0
    );
end
$function$;
