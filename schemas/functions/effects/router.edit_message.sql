-- router.edit_message: enters edits into the versions of a message. Whatever order they come in, they end in the same rows:
-- versions follow each other by their "ord", the message has the text and the attachments of the last one, and an edit whose
-- text is the one before it is no revision, as long as no other one comes between them.
-- takes: the message, its row locked by the caller; edits of it
-- returns: how many of them were not known, and changed something
-- reads: public.message_revisions and router.silent_edits: the text of a known version stands in the revision after it, or in
--   the message; its attachments, if it told any, in router.silent_edits, and those of the message as it was made there under ''
-- writes: public.messages, public.message_revisions, router.silent_edits, each only where something changes
create or replace function router.edit_message(p_message_id uuid, p_edits router.effect[])
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
    v_message     record;
    v_version     record;
    v_is_revision boolean;
    v_is_other    boolean;
    v_is_told     boolean := false;  -- an edit told attachments
    v_count       integer := 0;
    v_text        text;              -- of the version before, at the end of the last one; and so on
    v_attachments jsonb;
    v_told        jsonb;             -- the attachments that the version tells
    v_edited_at   timestamptz;
    v_metadata    jsonb;
    v_link        text;
    v_type        text;
    v_path        text;
begin
    select m.content_text, m.media_url, m.message_type, m.metadata into v_message
    from public.messages m
    where m.id = any (array[p_message_id]);

    for v_version in
        with revisions as materialized (
            select r.ord, r.revised_at, r.content_text
            from public.message_revisions r
            where r.message_id = p_message_id
        ), known as materialized (
            select k.ord, min(k.at) as at, bool_or(k.was_revision) as was_revision, bool_or(not k.was_revision) as was_kept,
                   (array_agg(k.attachments) filter (where k.attachments is not null))[1] as attachments
            from (
                select r.ord, r.revised_at as at, true as was_revision, null::jsonb as attachments
                from revisions r
                union all
                select s.ord, s.revised_at, false, s.attachments
                from router.silent_edits s
                where s.message_id = p_message_id
            ) k
            group by k.ord
        ), versions as (
            select k.ord, k.at, k.was_revision, k.was_kept, k.attachments, false as is_new, null as content_text
            from known k
            union all
            select '', null, false, false, null, false, null
            where not exists (select from known k where k.ord = '')
            union all
            select e.ord, min(e.at), false, false, nullif((array_agg(e.content -> 'attachments'))[1], 'null'), true,
                   (array_agg(e.content ->> 'text'))[1]
            from unnest(p_edits) e
            where not exists (select from known k where k.ord = e.ord)
            group by e.ord
        )
        select v.ord, v.at, v.was_revision, v.was_kept, v.attachments, v.is_new, r.content_text as text_before,
               case when v.is_new then v.content_text
                    when n.ord is not null then n.content_text
                    else v_message.content_text end as content_text
        from versions v
        left join revisions r on r.ord = v.ord
        left join lateral (
            select r.ord, r.content_text from revisions r where r.ord > v.ord order by r.ord limit 1
        ) n on true
        order by v.ord collate "C"
    loop
        if v_version.ord = '' then  -- the message as it was made
            v_text := v_version.content_text;
            v_attachments := coalesce(v_version.attachments, v_message.metadata -> 'attachments', '[]');
            if not v_version.was_kept and exists (select from unnest(p_edits) e where e.content -> 'attachments' <> 'null') then
                insert into router.silent_edits (message_id, ord, revised_at, attachments)
                values (p_message_id, '', now(), v_attachments);
            end if;
            continue;
        end if;
        v_is_revision := v_version.content_text is distinct from v_text;
        v_told := router.attachments_told(v_attachments, v_version.attachments);
        v_is_other := coalesce(v_told <> v_attachments, false);
        v_is_told := v_is_told or v_version.attachments is not null;

        if v_is_revision and (not v_version.was_revision or v_version.text_before is distinct from v_text) then
            v_path := pg_catalog.set_config('search_path', router.application_path(), true);
            insert into public.message_revisions (message_id, ord, revised_at, content_text)
            values (p_message_id, v_version.ord, v_version.at, v_text)
            on conflict (message_id, ord) do update set content_text = excluded.content_text;
            v_path := pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
        elsif v_version.was_revision and not v_is_revision then
            v_path := pg_catalog.set_config('search_path', router.application_path(), true);
            delete from public.message_revisions r
            where r.message_id operator(pg_catalog.=) p_message_id and r.ord operator(pg_catalog.=) v_version.ord;
            v_path := pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
        end if;
        if v_version.attachments is null and v_is_revision then
            if v_version.was_kept then
                delete from router.silent_edits s where s.message_id = p_message_id and s.ord = v_version.ord;
            end if;
        elsif not v_version.was_kept then
            insert into router.silent_edits (message_id, ord, revised_at, attachments)
            values (p_message_id, v_version.ord, v_version.at, v_version.attachments);
        end if;

        if v_is_revision or v_is_other then
            v_edited_at := v_version.at;
            v_count := v_count + v_version.is_new::integer;
        end if;
        v_text := v_version.content_text;
        v_attachments := coalesce(v_told, v_attachments);
    end loop;

    v_metadata := router.object_of(v_message.metadata) - 'edited_at';
    if v_edited_at is not null then
        v_metadata := v_metadata || jsonb_build_object('edited_at', router.iso_of(v_edited_at));
    end if;
    v_link := v_message.media_url;
    v_type := v_message.message_type;
    if v_is_told then
        v_metadata := v_metadata - 'attachments';
        if v_attachments <> '[]' then
            v_metadata := v_metadata || jsonb_build_object('attachments', v_attachments);
        end if;
        v_link := router.first_link(v_attachments);
        v_type := case when v_attachments = '[]' then 'text'
                       when v_attachments -> 0 ->> 'type' in ('image', 'video', 'audio', 'file') then v_attachments -> 0 ->> 'type'
                       else v_type end;
    end if;
    if (v_text, v_link, v_type) is distinct from (v_message.content_text, v_message.media_url, v_message.message_type)
       or v_metadata <> router.object_of(v_message.metadata) then
        v_path := pg_catalog.set_config('search_path', router.application_path(), true);
        update public.messages m
        set content_text = v_text, media_url = v_link, message_type = v_type, metadata = v_metadata
        where m.id operator(pg_catalog.=) any (array[p_message_id]);
        v_path := pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    end if;
    return v_count;
end
$function$;
