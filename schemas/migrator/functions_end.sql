-- Closes the list of functions. Those that the transaction has created or replaced carry its id; any other function that the
-- list of the run before names has no file any more: it is left over from an earlier version. What the list does not name is
-- the application's, in "router" too. The migrator puts fingerprints.sql in place of the comment below.

do $leftover$
declare
    v_function record;
begin
    for v_function in
        select p.oid::regprocedure as signature
        from pg_proc p
        join router.schema_functions s on replace(s.signature, '"', '') = p.oid::regprocedure::text
        where p.pronamespace = 'router'::regnamespace and p.xmin <> pg_current_xact_id()::xid
    loop
        execute format('drop routine %s', v_function.signature);
    end loop;
end
$leftover$;

delete from router.schema_functions where signature is null or not starts_with(signature, 'type ');  -- types: see types.py
insert into router.schema_functions (file, signature, fingerprint)
select f.file, f.signature, f.fingerprint
from (
/* fingerprints */
) f
where f.made_now;
