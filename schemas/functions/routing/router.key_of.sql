-- router.key_of: a new key, made from a seed and a number that the seed has not been used with.
-- returns: a UUID of version 7 (RFC 9562). Keys are ordered by time, so that those of a batch lie side by side in their index,
--   and otherwise as hard to guess as the seed. One seed serves many, since drawing from the system's source of randomness
--   costs several times as much as a hash
create or replace function router.key_of(p_seed bytea, p_number bigint)
returns uuid
language sql
immutable
as $function$
    select overlay(overlay(encode(substr(p_seed, 1, 6), 'hex')
                           || substr(encode(sha256(p_seed || int8send(p_number)), 'hex'), 1, 20), '7', 13), '8', 17)::uuid
$function$;
