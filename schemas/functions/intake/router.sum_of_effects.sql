-- router.sum_of_effects: what became of the effects of two parts of one call.
-- takes: two objects as of router.apply_effects
-- returns: one
create or replace function router.sum_of_effects(p_one jsonb, p_other jsonb)
returns jsonb
language sql
immutable
set search_path = pg_catalog, pg_temp
as $function$
    select coalesce(jsonb_object_agg(k.kind, k.numbers), '{}')
    from (
        select s.kind, jsonb_object_agg(s.name, s.number) as numbers
        from (
            select e.key as kind, n.key as name, sum(n.value::bigint) as number
            from (values (p_one), (p_other)) as p (part)
            cross join lateral jsonb_each(p.part) e
            cross join lateral jsonb_each_text(e.value) n
            group by e.key, n.key
        ) s
        group by s.kind
    ) k
$function$;
