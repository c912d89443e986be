-- The tables that applications know. Each is made only where it is missing, with its keys and indexes; a table that is
-- there already is left exactly as it is. Foreign keys decide the order.

do $migration$
declare
    v_made  name[] := '{}';
    v_table name;
    v_role  text;
    v_owner name := (select r.rolname from pg_class c join pg_roles r on r.oid = c.relowner
                     where c.oid = coalesce(to_regclass('public.webhook_events'), to_regclass('public.messages'),
                                            to_regclass('public.conversations'), to_regclass('public.contacts')));
begin
    if to_regclass('public.contacts') is null then
        create table public.contacts (
            id             uuid primary key default gen_random_uuid(),
            full_name      text,
            first_name     text,
            last_name      text,
            whatsapp_phone text,
            email          text,
            locale         text,
            country        text,
            tags           text[] default '{}',
            metadata       jsonb default '{}',
            created_at     timestamptz not null default now(),
            updated_at     timestamptz not null default now()
        );
        create unique index contacts_whatsapp_phone_key on public.contacts (whatsapp_phone) where whatsapp_phone is not null;
        create unique index contacts_email_key on public.contacts (email) where email is not null;
        v_made := v_made || 'contacts'::name;
    end if;

    if to_regclass('public.contact_channels') is null then
        create table public.contact_channels (
            id           uuid primary key default gen_random_uuid(),
            contact_id   uuid not null references public.contacts (id) on delete cascade,
            channel      text not null,
            external_id  text not null,
            display_name text,
            is_primary   boolean not null default false,
            metadata     jsonb default '{}',
            created_at   timestamptz not null default now(),
            constraint contact_channels_channel_check
                check (channel in ('whatsapp', 'facebook', 'instagram', 'tiktok', 'youtube', 'webchat', 'other', 'telegram')),
            constraint contact_channels_channel_external_id_key unique (channel, external_id)
        );
        create index contact_channels_contact_id_idx on public.contact_channels (contact_id);
        v_made := v_made || 'contact_channels'::name;
    end if;

    if to_regclass('public.conversations') is null then
        create table public.conversations (
            id                      uuid primary key default gen_random_uuid(),
            contact_id              uuid references public.contacts (id) on delete set null,
            channel                 text not null,
            channel_conversation_id text,
            status                  text not null default 'open',
            subject                 text,
            last_message_at         timestamptz,
            assigned_to             text,
            metadata                jsonb default '{}',
            created_at              timestamptz not null default now(),
            updated_at              timestamptz not null default now(),
            constraint conversations_channel_check
                check (channel in ('whatsapp', 'facebook', 'instagram', 'tiktok', 'youtube', 'webchat', 'telegram', 'other')),
            constraint conversations_status_check check (status in ('open', 'pending', 'closed', 'archived'))
        );
        create index conversations_contact_id_idx on public.conversations (contact_id);
        create index conversations_channel_status_idx on public.conversations (channel, status);
        create index conversations_last_message_at_idx on public.conversations (last_message_at);
        alter table public.conversations enable row level security;
        v_made := v_made || 'conversations'::name;
    end if;

    if to_regclass('public.messages') is null then
        create table public.messages (
            id                  uuid primary key default gen_random_uuid(),
            conversation_id     uuid not null references public.conversations (id) on delete cascade,
            contact_id          uuid references public.contacts (id) on delete set null,
            channel             text not null,
            direction           text not null,
            message_type        text not null default 'text',
            content_text        text,
            media_url           text,
            provider_message_id text,
            sent_at             timestamptz not null default now(),
            metadata            jsonb default '{}',
            constraint messages_direction_check check (direction in ('inbound', 'outbound', 'system')),
            constraint messages_message_type_check
                check (message_type in ('text', 'image', 'video', 'audio', 'file', 'event'))
        );
        create unique index messages_channel_provider_message_id_key
            on public.messages (channel, provider_message_id) where provider_message_id is not null;
        create index messages_conversation_id_sent_at_idx on public.messages (conversation_id, sent_at);
        create index messages_channel_sent_at_idx on public.messages (channel, sent_at);
        alter table public.messages enable row level security;
        v_made := v_made || 'messages'::name;
    end if;

    if to_regclass('public.message_analysis') is null then
        create table public.message_analysis (
            id               uuid primary key default gen_random_uuid(),
            message_id       uuid not null references public.messages (id) on delete cascade,
            intent           text,
            sentiment        text,
            confidence       numeric,
            needs_escalation boolean not null default false,
            metadata         jsonb not null default '{}',
            created_at       timestamptz not null default now(),
            updated_at       timestamptz not null default now(),
            constraint message_analysis_sentiment_check check (sentiment in ('positive', 'neutral', 'negative')),
            constraint message_analysis_message_id_key unique (message_id)
        );
        alter table public.message_analysis enable row level security;
        v_made := v_made || 'message_analysis'::name;
    end if;

    if to_regclass('public.webhook_events') is null then
        create table public.webhook_events (
            id              uuid primary key default gen_random_uuid(),
            channel         text not null,
            type            text not null,
            event_id        text not null,
            author_id       text,
            author_name     text,
            content         text,
            event_date      timestamptz,
            post_id         text,
            conversation_id uuid references public.conversations (id) on delete set null,
            raw_payload     jsonb not null default '{}',
            created_at      timestamptz not null default now(),
            routed_at       timestamptz,
            constraint webhook_events_channel_check
                check (channel in ('whatsapp', 'facebook', 'instagram', 'tiktok', 'youtube', 'telegram', 'webchat')),
            constraint webhook_events_type_check check (type in ('message', 'comment')),
            constraint webhook_events_channel_event_id_key unique (channel, event_id)
        );
        create index webhook_events_channel_event_date_idx on public.webhook_events (channel, event_date);
        create index webhook_events_routed_at_idx on public.webhook_events (routed_at);
        alter table public.webhook_events enable row level security;
        v_made := v_made || 'webhook_events'::name;
    end if;

    foreach v_table in array v_made loop
        -- Keys in the order of time share pages of their index with their neighbours; random ones have a page each.
        if current_setting('server_version_num')::integer >= 180000 then
            execute format('alter table public.%I alter column id set default uuidv7()', v_table);
        end if;
        -- They belong together: routing writes to all of them with the rights of one owner.
        if v_owner is not null then
            execute format('alter table public.%I owner to %I', v_table, v_owner);
        end if;
        -- Where the database gives rights on new tables by default (alter default privileges), that is too much here. Only
        -- the platform's own role for servers, which passes row security by, keeps them.
        for v_role in
            select distinct case a.grantee when 0 then 'public' else a.grantee::regrole::text end
            from pg_class c
            cross join aclexplode(c.relacl) a
            where c.oid = ('public.' || v_table)::regclass
              and a.grantee not in (c.relowner, coalesce(to_regrole('service_role')::oid, c.relowner))
        loop
            execute format('revoke all on public.%I from %s', v_table, v_role);
        end loop;
        -- Readers are named in rights.sql, which knows by the comment that nobody else has done so.
        execute format('comment on table public.%I is %L', v_table,
                       case when (select c.relrowsecurity from pg_class c where c.oid = ('public.' || v_table)::regclass)
                            then 'made by webhook-router; no readers yet' else 'made by webhook-router' end);
    end loop;
end
$migration$;
