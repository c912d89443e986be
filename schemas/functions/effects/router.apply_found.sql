-- router.apply_found: applies effects whose messages have been looked up, and lets the others wait.
-- takes: effects as router.find_effect_targets returns them; some may come from router.waiting
-- returns: as router.apply_effects
-- writes: what the functions of router.apply_kind write; router.waiting
-- locks: kind by kind, in the order of this list
create or replace function router.apply_found(p_effects router.effect[])
returns jsonb
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $function$
declare
    v_part    record;
    v_changed integer;
    v_new     integer;
    v_waits   integer[];
    v_refused integer[];
    v_reasons text[];
    v_counts  jsonb := '{}';
begin
    for v_part in
        select e.kind, count(*)::integer as count,
               -- About a person, or of a message that is there.
               array_agg(e::router.effect) filter (where e.target is null or e.message_id is not null) as found,
               array_agg(e::router.effect) filter (where e.target is not null and e.message_id is null) as lost,
               bool_or(e.is_waiting) as has_waited
        from unnest(p_effects) e
        group by e.kind
        order by array_position(array['system', 'marketing', 'status', 'read', 'delivery', 'reaction', 'edit', 'media',
                                      'delete', 'read_until', 'delivered_until', 'handover', 'referral'], e.kind), e.kind
    loop
        v_changed := 0;
        v_new := 0;
        if v_part.found is not null then
            select d.changed, d.waits, d.refused, d.reasons into v_changed, v_waits, v_refused, v_reasons
            from router.apply_or_refuse(v_part.kind, v_part.found) d;
            if v_part.has_waited or v_waits <> '{}' or v_refused <> '{}' then
                v_new := router.note_waiting(v_part.found, v_waits, v_refused, v_reasons);
            end if;
        end if;
        if v_part.lost is not null then
            if v_part.kind = 'delete' then
                perform router.note_deletions(v_part.lost);
            elsif v_part.kind in ('edit', 'media') then
                v_part.lost := router.without_deleted(v_part.lost);
            end if;
            v_new := v_new + router.keep_waiting(v_part.lost);
        end if;
        v_counts := v_counts || jsonb_build_object(v_part.kind, jsonb_build_object(
            'applied', v_changed, 'waiting', v_new,
            'known', greatest(v_part.count - v_changed - v_new, 0)));
    end loop;
    return v_counts;
end
$function$;
