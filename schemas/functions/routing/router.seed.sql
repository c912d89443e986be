-- router.seed: the seed of the keys of a batch, see router.key_of.
-- returns: the time in milliseconds since 1970 (6 bytes) and 32 random bytes
create or replace function router.seed()
returns bytea
language sql
volatile
as $function$
    select substr(int8send((date_part('epoch', clock_timestamp()) * 1000)::bigint), 3)  -- 8 bytes without the first two
           || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())
$function$;
