-- router.apply_media: gives messages of a history their media, which come after them. Media that are there stay.
-- takes: effects of the kind "media", with message_id; content: message_type, attachments, text
-- returns: how many of them changed something
-- writes: public.messages, and the first of public.message_revisions and router.silent_edits where the message has been edited
--   since; nothing of a message that is deleted
-- locks: messages in the order of their id
create or replace function router.apply_media(p_effects router.effect[])
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
    v_ids     constant uuid[] := router.lock_messages(p_effects);
    v_effect  record;
    v_message record;
    v_base    record;  -- the message as it was made
    v_new     record;
    v_count   integer := 0;
    v_path    text;
begin
    for v_effect in
        select e.message_id, e.content ->> 'text' as text, e.content ->> 'message_type' as message_type,
               case when jsonb_typeof(e.content -> 'attachments') = 'array' then e.content -> 'attachments' else '[]' end
                   as attachments
        from unnest(p_effects) e
        where e.message_id = any (v_ids)
        order by e.message_id, e.atom_id collate "C"
    loop
        select m.content_text, m.media_url, m.message_type, router.object_of(m.metadata) as metadata,
               r.ord, s.attachments as attachments_before, r.content_text as text_before
        into v_message
        from public.messages m
        left join lateral (
            select r.ord, r.content_text from public.message_revisions r where r.message_id = m.id order by r.ord limit 1
        ) r on true
        left join router.silent_edits s on s.message_id = m.id and s.ord = ''
        where m.id = any (array[v_effect.message_id]);

        select case when v_message.ord is null then v_message.content_text else v_message.text_before end as text,
               coalesce(v_message.attachments_before, v_message.metadata -> 'attachments', '[]') as attachments
        into v_base;
        select coalesce(v_base.text, v_effect.text) as text,
               case when v_base.attachments = '[]' then v_effect.attachments else v_base.attachments end as attachments
        into v_new;
        continue when v_new is not distinct from v_base;

        v_count := v_count + 1;
        if v_new.attachments <> v_base.attachments then
            v_message.metadata := v_message.metadata - 'placeholder';
            if v_message.attachments_before is null then
                v_message.metadata := v_message.metadata || jsonb_build_object('attachments', v_new.attachments);
                v_message.media_url := router.first_link(v_new.attachments);
                v_message.message_type := coalesce(v_effect.message_type, v_message.message_type);
            else
                update router.silent_edits s set attachments = v_new.attachments
                where s.message_id = v_effect.message_id and s.ord = '';
            end if;
        end if;
        v_path := pg_catalog.set_config('search_path', router.application_path(), true);
        if v_message.ord is null then
            v_message.content_text := v_new.text;
        else
            update public.message_revisions r set content_text = v_new.text
            where r.message_id operator(pg_catalog.=) v_effect.message_id and r.ord operator(pg_catalog.=) v_message.ord;
        end if;
        update public.messages m
        set content_text = v_message.content_text, media_url = v_message.media_url, message_type = v_message.message_type,
            metadata = v_message.metadata
        where m.id operator(pg_catalog.=) any (array[v_effect.message_id]);
        v_path := pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
        perform router.edit_message(v_effect.message_id, '{}');  -- the first edit may be none any more, or be one now
    end loop;
    return v_count;
end
$function$;
