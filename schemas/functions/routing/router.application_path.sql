-- router.application_path: the search_path with which statements fire the application's triggers, whose functions may have
-- none of their own. No other part of ours runs under it, since functions and operators that somebody has made in "public"
-- may suit our arguments better than those of the catalogue. So a function that writes a table of the application
--   - has a search_path without "public", as all others do,
--   - sets this one for its writing statement alone, and its own one after it, unless the statement is the last thing it does,
--   - names the schema of each function, operator, type and collation in between. What cannot name it (is distinct from, in,
--     nullif, between, "case x when") stays outside.
create or replace function router.application_path()
returns text
language sql
immutable
as $function$
    select 'pg_catalog, public, extensions, pg_temp'
$function$;
