-- router.seed: the seed of the keys of a batch, see router.key_of.
-- returns: the time in milliseconds since 1970 (6 bytes) and 32 random bytes
create or replace function router.seed()
returns bytea
language sql
volatile
as $function$
    select pg_catalog.substr(  -- 8 bytes without the first two
               pg_catalog.int8send((pg_catalog.date_part('epoch', pg_catalog.clock_timestamp())
                                    operator(pg_catalog.*) 1000)::bigint), 3)
           operator(pg_catalog.||) pg_catalog.uuid_send(pg_catalog.gen_random_uuid())
           operator(pg_catalog.||) pg_catalog.uuid_send(pg_catalog.gen_random_uuid())
$function$;
