-- What the catalogue has made of the functions in "public" and "router" and of the composite types in "router". It is a query
-- and no view: whoever owns a view may replace it, and a superuser who reads it runs what has been put there.
-- returns: file (as ours would be named), signature, made_now (by this transaction), fingerprint (changes with the definition)
select f.file, f.signature, f.made_now,
       md5(pg_get_functiondef(f.oid)
           || coalesce((select string_agg(pg_get_triggerdef(t.oid), ';' order by t.tgname)
                        from pg_trigger t where t.tgfoid = f.oid), '')) as fingerprint
from (
    select p.oid, n.nspname || '.' || p.proname || '.sql' as file, p.oid::regprocedure::text as signature,
           p.xmin = pg_current_xact_id_if_assigned()::xid as made_now
    from pg_proc p
    join pg_namespace n on n.oid = p.pronamespace
    where n.nspname in ('public', 'router') and p.prokind in ('f', 'p')
    offset 0
) f
union all
select n.nspname || '.' || t.typname || '.sql', 'type ' || t.oid::regtype::text, false,
       md5(string_agg(concat_ws(' ', a.attname, format_type(a.atttypid, a.atttypmod), a.attcollation::regcollation), ', '
                      order by a.attnum))
from pg_type t
join pg_namespace n on n.oid = t.typnamespace
join pg_class c on c.oid = t.typrelid and c.relkind = 'c'
join pg_attribute a on a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped
where n.nspname = 'router'
group by n.nspname, t.typname, t.oid
