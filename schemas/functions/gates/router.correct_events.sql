-- router.correct_events: has what the normalisers of this version make of messages replace what those of an earlier version made
-- of them: text, type, link and metadata, each only if it is still what the router once wrote. Nothing of a message that its
-- author has deleted. Called again it does nothing.
-- takes: lines of messages, see router.take_deliveries, from deliveries that were taken before; "correct": whether an earlier
--   version has read it: of several deliveries of one event, each may say something else
-- returns: lines: the same, for router.take_deliveries, without the texts of events that are there: an older delivery must not
--   put its text into a row again; corrected: how many messages were changed
-- reads: webhook_events and messages by key
-- writes: messages, webhook_events; the application's triggers on both fire here
-- locks: the events, and their messages, in the order of the lines
create or replace function router.correct_events(p_lines text, out lines text, out corrected integer)
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_sort = off
set enable_incremental_sort = off
set jit = off
as $function$
declare
    v_text    text;
    v_line    jsonb;
    v_channel text;
    v_key     text;
    v_event   record;
    v_message record;
    v_content text;   -- of the event, with what is corrected
    v_new     jsonb;  -- "normalized" of this version
    v_kept    jsonb;  -- that of the event, with what is corrected
    v_now     record; -- the message, with what is corrected
    v_path    text;
begin
    corrected := 0;
    foreach v_text in array coalesce(string_to_array(p_lines, E'\n'), '{}') loop
        v_line := v_text::jsonb;
        v_channel := router.channel_of(v_line ->> 'channel');
        v_key := v_line ->> 'event_id';
        select w.id, w.content, w.normalized, w.routed_at
        into v_event
        from public.webhook_events w
        where w.channel = v_channel and w.event_id >= v_key and w.event_id <= v_key
        order by w.event_id
        limit 1
        for no key update;
        if not found then
            lines := concat_ws(E'\n', lines, v_text);
            continue;
        end if;
        lines := concat_ws(E'\n', lines, (v_line - 'content')::text);
        continue when not coalesce((v_line -> 'correct')::boolean, false);
        continue when jsonb_typeof(v_event.normalized) is distinct from 'object' or v_event.normalized ? 'deleted_at';

        v_new := coalesce(v_line -> 'normalized', '{}');
        v_kept := v_event.normalized;
        select m.id, m.content_text, m.message_type, m.media_url, m.metadata
        into v_message
        from public.messages m
        where m.channel = v_channel and m.provider_message_id >= v_key and m.provider_message_id <= v_key
        order by m.provider_message_id
        limit 1
        for no key update;
        continue when v_message.metadata ? 'deleted_at' or v_message.id is null and v_event.routed_at is not null;
        if v_message.id is null then
            -- It is still to be routed: as what was stored, so that all of it counts as written by the router.
            select null::uuid as id, v_event.content as content_text, coalesce(v_kept ->> 'message_type', 'text') as message_type,
                   v_kept ->> 'media_url' as media_url, v_kept -> 'metadata' as metadata
            into v_message;
        end if;
        v_message.metadata := case when jsonb_typeof(v_message.metadata) = 'object' then v_message.metadata else '{}' end;
        v_now := v_message;
        v_content := v_event.content;

        if v_message.content_text is not distinct from v_event.content and v_line ->> 'content' is not null then
            v_now.content_text := v_line ->> 'content';
            v_content := v_line ->> 'content';
        end if;
        if v_message.message_type is not distinct from coalesce(v_kept ->> 'message_type', 'text') then
            v_now.message_type := coalesce(v_new ->> 'message_type', 'text');
            v_kept := case when v_new ? 'message_type' then v_kept || jsonb_build_object('message_type', v_new -> 'message_type')
                           else v_kept - 'message_type' end;
        end if;
        if v_message.media_url is not distinct from v_kept ->> 'media_url' and v_new ? 'media_url' then
            v_now.media_url := v_new ->> 'media_url';
            v_kept := v_kept || jsonb_build_object('media_url', v_new -> 'media_url');
        end if;
        with told as (
            select k.key, k.value
            from jsonb_each(case when jsonb_typeof(v_new -> 'metadata') = 'object' then v_new -> 'metadata' else '{}' end) k
            where v_kept -> 'metadata' -> k.key is not null
              and v_message.metadata -> k.key is not distinct from v_kept -> 'metadata' -> k.key
        )
        select v_message.metadata || coalesce(jsonb_object_agg(t.key, t.value), '{}'),
               case when count(*) = 0 then v_kept
                    else v_kept || jsonb_build_object('metadata', v_kept -> 'metadata' || jsonb_object_agg(t.key, t.value)) end
        into v_now.metadata, v_kept
        from told t;
        -- What was not understood then has a placeholder, which goes.
        if v_kept -> 'metadata' ? 'placeholder' and not coalesce(v_new -> 'metadata' ? 'placeholder', false) then
            v_now.metadata := v_now.metadata - 'placeholder';
            v_kept := v_kept || jsonb_build_object('metadata', (v_kept -> 'metadata') - 'placeholder');
        end if;

        if v_content is distinct from v_event.content or v_kept <> v_event.normalized then
            v_path := pg_catalog.set_config('search_path', router.application_path(), true);
            update public.webhook_events w
            set content = v_content, normalized = v_kept
            where w.id operator(pg_catalog.=) any (array[v_event.id]);
            v_path := pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
        end if;
        if v_message.id is not null and v_now is distinct from v_message then
            v_path := pg_catalog.set_config('search_path', router.application_path(), true);
            update public.messages m
            set content_text = v_now.content_text, message_type = v_now.message_type, media_url = v_now.media_url,
                metadata = v_now.metadata
            where m.id operator(pg_catalog.=) any (array[v_message.id]);
            v_path := pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
            corrected := corrected + 1;
        end if;
    end loop;
end
$function$;
