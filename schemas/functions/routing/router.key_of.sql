-- router.key_of: a new key, made from a seed and a number that has not been used with this seed.
-- returns: a UUID of version 7 (RFC 9562). Keys are in the order of time, so that those of a batch are neighbours in their
--   index, and are otherwise as hard to guess as the seed. A hash costs a fraction of what drawing from the system's source
--   of randomness does, so one seed serves a whole batch
create or replace function router.key_of(p_seed bytea, p_number bigint)
returns uuid
language sql
immutable
as $function$
    select pg_catalog.overlay(pg_catalog.overlay(
               pg_catalog.encode(pg_catalog.substr(p_seed, 1, 6), 'hex')
               operator(pg_catalog.||)
               pg_catalog.substr(pg_catalog.encode(pg_catalog.sha256(
                   p_seed operator(pg_catalog.||) pg_catalog.int8send(p_number)), 'hex'), 1, 20),
               '7', 13), '8', 17)::pg_catalog.uuid
$function$;
