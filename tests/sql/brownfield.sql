-- A database as it is found in the wild: the tables and keys of CONTRACT, named as somebody named them years ago, the
-- application's policies and grants, and no uniqueness of the open conversation. Run it as the owner; the roles anon and
-- authenticated exist already.

create table contacts (
    id uuid primary key default gen_random_uuid(),
    full_name text,
    first_name text,
    last_name text,
    whatsapp_phone text,
    email text,
    locale text,
    country text,
    tags text[] default '{}',
    metadata jsonb default '{}',
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
create unique index ux_contacts_whatsapp on contacts (whatsapp_phone) where whatsapp_phone is not null;
create unique index ux_contacts_email on contacts (email) where email is not null;

create table contact_channels (
    id uuid primary key default gen_random_uuid(),
    contact_id uuid not null references contacts (id) on delete cascade,
    channel text not null check (channel in ('whatsapp', 'facebook', 'instagram', 'tiktok', 'youtube', 'webchat', 'other')),
    external_id text not null,
    display_name text,
    is_primary boolean not null default false,
    metadata jsonb default '{}',
    created_at timestamptz not null default now(),
    unique (channel, external_id)
);
create index idx_cc_contact on contact_channels (contact_id);

create table conversations (
    id uuid primary key default gen_random_uuid(),
    contact_id uuid references contacts (id) on delete set null,
    channel text not null check (channel in ('whatsapp', 'facebook', 'instagram', 'tiktok', 'youtube', 'webchat')),
    channel_conversation_id text,
    status text not null default 'open' check (status in ('open', 'pending', 'closed', 'archived')),
    subject text,
    last_message_at timestamptz,
    assigned_to text,
    metadata jsonb default '{}',
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
create index idx_conv_contact on conversations (contact_id);
create index idx_conv_channel_status on conversations (channel, status);
create index idx_conv_last_message on conversations (last_message_at);

create table messages (
    id uuid primary key default gen_random_uuid(),
    conversation_id uuid not null references conversations (id) on delete cascade,
    contact_id uuid references contacts (id) on delete set null,
    channel text not null,
    direction text not null check (direction in ('inbound', 'outbound', 'system')),
    message_type text not null default 'text' check (message_type in ('text', 'image', 'video', 'audio', 'file', 'event')),
    content_text text,
    media_url text,
    provider_message_id text,
    sent_at timestamptz not null default now(),
    metadata jsonb default '{}'
);
create unique index ux_messages_provider on messages (channel, provider_message_id) where provider_message_id is not null;
create index idx_messages_conv_sent on messages (conversation_id, sent_at);
create index idx_messages_channel_sent on messages (channel, sent_at);

create table message_analysis (
    id uuid primary key default gen_random_uuid(),
    message_id uuid not null unique references messages (id) on delete cascade,
    intent text,
    sentiment text check (sentiment in ('positive', 'neutral', 'negative')),
    confidence numeric,
    needs_escalation boolean not null default false,
    metadata jsonb not null default '{}',
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

create table webhook_events (
    id uuid primary key default gen_random_uuid(),
    channel text not null check (channel in ('whatsapp', 'facebook', 'instagram', 'tiktok', 'youtube')),
    type text not null check (type in ('message', 'comment')),
    event_id text not null,
    author_id text,
    author_name text,
    content text,
    event_date timestamptz,
    post_id text,
    conversation_id uuid references conversations (id) on delete set null,
    raw_payload jsonb not null default '{}',
    created_at timestamptz not null default now(),
    unique (channel, event_id)
);
create index idx_we_channel_date on webhook_events (channel, event_date);
alter table webhook_events add column routed_at timestamptz;
create index idx_we_routed_at on webhook_events (routed_at);

alter table webhook_events enable row level security;
alter table conversations enable row level security;
alter table messages enable row level security;
alter table message_analysis enable row level security;
create policy "read events" on webhook_events for select to authenticated using (true);
create policy "read conversations" on conversations for select to authenticated using (true);
create policy "read messages" on messages for select to authenticated using (true);
create policy "read analysis" on message_analysis for select to authenticated using (true);
grant select on webhook_events, conversations, messages, message_analysis to authenticated;
