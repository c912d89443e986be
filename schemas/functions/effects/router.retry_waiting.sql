-- router.retry_waiting: applies those of waiting effects whose target is there by now.
-- takes: rows of router.waiting. One that the application has refused is tried again after 10 s, doubled at each attempt
-- returns: how many have come to something
-- reads: see router.find_effect_targets
-- writes: see router.apply_found; nothing for what still waits
create or replace function router.retry_waiting(p_rows router.waiting[])
returns integer
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set jit = off
as $function$
declare
    v_effects router.effect[];
    v_counts  jsonb;
begin
    v_effects := array(
        select router.effect_of(w.effect, 0, w.received_at, true)
        from unnest(p_rows) w
        where w.kind <> 'comment'
          and (w.error is null or now() > w.received_at + interval '10 seconds' * 2 ^ least(w.attempts, 16))
    );
    if v_effects = '{}' then
        return 0;
    end if;
    -- Tokens are compared one by one: for the first hundred, and few messages of each conversation.
    v_effects := router.find_effect_targets(v_effects, 100, 20);
    v_effects := array(select e::router.effect from unnest(v_effects) e where e.target is null or e.message_id is not null);
    if v_effects = '{}' then
        return 0;
    end if;
    v_counts := router.apply_found(v_effects);
    return (select sum((k.counts ->> 'applied')::integer) from jsonb_each(v_counts) k (kind, counts));
end
$function$;
