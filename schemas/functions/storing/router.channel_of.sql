-- router.channel_of: a channel's name as it is stored.
-- takes: it in any case, perhaps with spaces around it
-- returns: in lower case, by the rules of "C": a Turkish database makes another letter of I. The result compares by
--   the collation of the column beside it, so that the column's index serves. Inlined, since it has no settings of its own
create or replace function router.channel_of(p_channel text)
returns text
language sql
immutable
as $function$
    select pg_catalog.lower(pg_catalog.btrim(p_channel) collate pg_catalog."C")
$function$;
