-- router.token_marks: how a token looks inside of ids that encode it: one of these stands in each of them. Looking for them costs a
-- hundredth of decoding the ids.
-- takes: a token, see router.token_of
-- returns: three texts, by the place at which the token falls into the groups of three bytes that base64 makes
create or replace function router.token_marks(p_token text)
returns text[]
language sql
immutable
as $function$
    select pg_catalog.array_agg(pg_catalog.replace(pg_catalog.encode(pg_catalog.decode(
               pg_catalog.substr(p_token, s.first, (pg_catalog.length(p_token) operator(pg_catalog.-) s.first
                                                    operator(pg_catalog.+) 1) operator(pg_catalog./) 3
                                                   operator(pg_catalog.*) 3), 'escape'), 'base64'), E'\n', ''))
    from pg_catalog.generate_series(1, 3) s (first)
$function$;
