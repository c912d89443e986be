-- Functions and types in "router" that bear names of ours without being on the list of what the migrator has made: the
-- application's, which are neither replaced nor dropped. It only reads.
-- The migrator puts the names of our files, and that list, in place of the comments below.
-- returns: problem, remedy (SQL)

with ours (file) as (
    select unnest(array[/* files */]::text[])
), listed (file, signature) as (
    -- Without the quotes that quote_all_identifiers may have added: no name of ours needs any.
    select s.file, replace(s.signature, '"', '') from (/* listed */) s (file, signature)
)

select format('%s %s does not belong to webhook-router, which needs the name',
              case p.prokind when 'p' then 'procedure' when 'a' then 'aggregate' else 'function' end,
              p.oid::regprocedure) as problem,
       format('alter routine %s rename to %I;', p.oid::regprocedure, p.proname || '_of_the_application') as remedy
from pg_proc p
join ours o on o.file = format('router.%s.sql', p.proname)
where p.pronamespace = to_regnamespace('router')
  -- After a change by hand the list may have another signature; whoever has dropped ours has put this in its place.
  and not exists (select from listed l
                  where l.signature = p.oid::regprocedure::text
                     or l.file = o.file
                        and not exists (select from pg_proc q where q.oid::regprocedure::text = l.signature))

union all
select format('type %s does not belong to webhook-router, which needs the name', t.oid::regtype),
       format('alter type %s rename to %I;', t.oid::regtype, t.typname || '_of_the_application')
from pg_type t
join ours o on o.file = format('router.%s.sql', t.typname)
left join pg_class c on c.oid = t.typrelid
where t.typnamespace = to_regnamespace('router')
  and coalesce(c.relkind, 'c') = 'c'  -- other relations of that name: see taken_names.sql
  and not exists (select from listed l where l.file = o.file)
  -- Made by migrations, by those of earlier versions before there was a list of types.
  and not (t.typname in ('event', 'batch', 'incoming') and coalesce(c.relkind = 'c', false))
