-- What of the application depends on objects that are about to be dropped, and would be lost or keep them from it. What belongs
-- to such an object (a key, a default, the type of its rows) goes with it. It only reads the catalogue.
-- The uninstaller gives the objects as three arrays: classid, objid, objsubid; a column has the table's oid and its number.
-- returns: object, dependent (descriptions)

with recursive ours (classid, objid, objsubid) as (
    select * from unnest(%s::oid[], %s::oid[], %s::integer[])
), parts (classid, objid) as (
    select o.classid, o.objid from ours o where o.objsubid = 0
    union
    select d.classid, d.objid
    from parts p
    join pg_depend d on d.refclassid = p.classid and d.refobjid = p.objid
    where d.deptype in ('i', 'a', 'P', 'S')
)
select distinct pg_describe_object(d.refclassid, d.refobjid, d.refobjsubid) as object,
       -- The rule of a view stands for the view.
       case when r.rulename = '_RETURN' then pg_describe_object('pg_class'::regclass, r.ev_class, 0)
            else pg_describe_object(d.classid, d.objid, d.objsubid) end as dependent
from pg_depend d
left join pg_rewrite r on d.classid = 'pg_rewrite'::regclass and r.oid = d.objid
where (exists (select from parts p where p.classid = d.refclassid and p.objid = d.refobjid) and d.deptype = 'n'
       or exists (select from ours o
                  where o.objsubid > 0 and o.classid = d.refclassid and o.objid = d.refobjid and o.objsubid = d.refobjsubid)
          and d.deptype in ('n', 'a'))
  and not exists (select from parts p where p.classid = d.classid and p.objid = d.objid)
  and d.refclassid <> 'pg_namespace'::regclass
order by 1, 2
