-- router.apply_reactions: what people have last reacted with to messages: by time, and within one by the id of the atom, so
-- that the order in which reactions come does not matter. One that is taken back leaves an empty set, with its time.
-- takes: effects whose message_id is set, with "actor" and "emoji", a list, in their content
-- returns: how many reactions are new or other ones now
-- reads: message_reactions by key
-- writes: message_reactions; nothing for a reaction that is known, or that a later one has replaced
-- locks: its rows in the order of their key
create or replace function router.apply_reactions(p_effects router.effect[])
returns integer
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
    v_told  jsonb;
    v_count integer;
    v_path  text;
begin
    with told as (
        select distinct on (e.message_id, a.actor collate "C")
            e.message_id, a.actor, e.at, e.ord, coalesce(nullif(e.content -> 'emoji', 'null'), '[]') as emoji
        from unnest(p_effects) e
        cross join lateral (select coalesce(e.content ->> 'actor', e.person, '') as actor) a
        order by e.message_id, a.actor collate "C", e.at desc, e.ord collate "C" desc
    )
    select jsonb_agg(t order by t.message_id, t.actor collate "C") into v_told
    from told t
    left join lateral (
        select r.reacted_at, r.ord
        from public.message_reactions r
        where r.message_id = t.message_id and r.actor = t.actor
        limit 1
    ) r on true
    where r.reacted_at is null or r.reacted_at < t.at or (r.reacted_at = t.at and r.ord collate "C" < t.ord collate "C");
    if v_told is null then
        return 0;
    end if;

    v_path := pg_catalog.set_config('search_path', router.application_path(), true);
    insert into public.message_reactions as r (message_id, actor, emoji, reacted_at, ord)
    select t.message_id, t.actor, t.emoji, t.at, t.ord
    from pg_catalog.jsonb_to_recordset(v_told) t (
        message_id pg_catalog.uuid, actor pg_catalog.text, emoji pg_catalog.text[], at timestamp with time zone,
        ord pg_catalog.text
    )
    on conflict (message_id, actor) do update
    set emoji = excluded.emoji, reacted_at = excluded.reacted_at, ord = excluded.ord
    where r.reacted_at operator(pg_catalog.<) excluded.reacted_at
       or (r.reacted_at operator(pg_catalog.=) excluded.reacted_at
           and r.ord collate pg_catalog."C" operator(pg_catalog.<) excluded.ord collate pg_catalog."C");
    get diagnostics v_count = row_count;
    return v_count;
end
$function$;
