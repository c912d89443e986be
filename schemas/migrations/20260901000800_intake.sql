-- What bodies as providers send them need: columns and tables beside those of the application, and the inbox of raw bodies.

do $migration$
declare
    v_lent  boolean;
    v_table name;
    v_made  name[] := '{}';
    v_role  text;
    v_is_lost boolean;
    -- What is there already, and not since an earlier run, is the application's.
    v_is_first constant boolean := to_regclass('router.deliveries') is null;
    v_owner constant name := (select r.rolname from pg_class c join pg_roles r on r.oid = c.relowner
                              where c.oid = 'public.messages'::regclass);
begin
    -- "if not exists" would take the exclusive lock only to find out that there is nothing to do.
    -- normalized: what a normaliser knows of an event beyond the columns of old, see router.insert_messages; null: as ever.
    if not exists (select from pg_attribute
                   where attrelid = 'public.webhook_events'::regclass and attname = 'normalized' and not attisdropped) then
        alter table public.webhook_events add column normalized jsonb;
    elsif v_is_first then
        insert into router.found (kind, name) values ('column', 'public.webhook_events.normalized') on conflict do nothing;
    end if;
    -- account_id: which of our numbers, pages, accounts or bots the conversation is with.
    if not exists (select from pg_attribute
                   where attrelid = 'public.conversations'::regclass and attname = 'account_id' and not attisdropped) then
        alter table public.conversations add column account_id text;
    elsif v_is_first then
        insert into router.found (kind, name) values ('column', 'public.conversations.account_id') on conflict do nothing;
    end if;

    if to_regclass('public.message_delivery') is null then
        create table public.message_delivery (
            message_id   uuid primary key references public.messages (id) on delete cascade,
            status       text not null,
            sent_at      timestamptz,
            delivered_at timestamptz,
            read_at      timestamptz,
            played_at    timestamptz,
            failed_at    timestamptz,
            errors       jsonb,
            constraint message_delivery_status_check check (status in ('sent', 'failed', 'delivered', 'read', 'played'))
        );
        v_made := v_made || 'message_delivery'::name;
    end if;
    if to_regclass('public.message_reactions') is null then
        create table public.message_reactions (
            message_id uuid not null references public.messages (id) on delete cascade,
            actor      text not null,
            emoji      text[] not null default '{}',
            reacted_at timestamptz not null,
            ord        text not null,
            primary key (message_id, actor)
        );
        v_made := v_made || 'message_reactions'::name;
    end if;
    if to_regclass('public.message_revisions') is null then
        create table public.message_revisions (
            message_id   uuid not null references public.messages (id) on delete cascade,
            revised_at   timestamptz not null,
            ord          text collate "C" not null,
            content_text text,
            primary key (message_id, ord)
        );
        v_made := v_made || 'message_revisions'::name;
    end if;

    -- Only who may create in a schema can be given a table there.
    v_lent := v_made <> '{}' and not has_schema_privilege(v_owner, 'public', 'create');
    if v_lent then
        execute format('grant create on schema public to %I', v_owner);
    end if;
    foreach v_table in array v_made loop
        execute format('alter table public.%I enable row level security', v_table);
        execute format('alter table public.%I owner to %I', v_table, v_owner);
        -- As in the migration that makes the other tables.
        for v_role in
            select distinct case a.grantee when 0 then 'public' else a.grantee::regrole::text end
            from pg_class c
            cross join aclexplode(c.relacl) a
            where c.oid = ('public.' || v_table)::regclass
              and a.grantee not in (c.relowner, coalesce(to_regrole('service_role')::oid, c.relowner))
        loop
            execute format('revoke all on public.%I from %s', v_table, v_role);
        end loop;
        for v_role in
            select distinct case a.grantee when 0 then 'public' else a.grantee::regrole::text end
            from pg_class c
            cross join aclexplode(c.relacl) a
            where c.oid = 'public.messages'::regclass and a.grantee <> c.relowner and a.privilege_type = 'SELECT'
        loop
            execute format('grant select on public.%I to %s', v_table, v_role);
        end loop;
        execute format('comment on table public.%I is %L', v_table, 'made by webhook-router; no readers yet');
    end loop;
    if v_lent then
        execute format('revoke create on schema public from %I', v_owner);
    end if;

    foreach v_table in array array['message_delivery', 'message_reactions', 'message_revisions']::name[] loop
        -- Gone, with the policy, if the table of the messages was dropped and made again.
        v_is_lost := not exists (select from pg_constraint k
                                 where k.conrelid = ('public.' || v_table)::regclass and k.contype = 'f'
                                   and k.confrelid = 'public.messages'::regclass);
        if v_is_lost then
            execute format('alter table public.%I add foreign key (message_id) references public.messages (id) '
                           'on delete cascade not valid', v_table);
        end if;
        -- Who sees a message sees what is known of it, and nobody else does.
        if (v_is_lost or v_table = any (v_made))
           and not exists (select from pg_policy p where p.polrelid = ('public.' || v_table)::regclass) then
            execute format('create policy %I on public.%I for select using (exists (select from public.messages m '
                           'where m.id = message_id))', v_table || '_as_messages', v_table);
        end if;
    end loop;
end
$migration$;

-- Each POST as it came. Partitions of a day are made ahead and dropped when they are old, by router.keep_deliveries.
create sequence if not exists router.delivery_ids;
do $migration$
declare
    v_space constant text := current_setting('default_tablespace');
begin
    -- Partitioned tables and their indexes have none: named by default, it would be an error.
    perform set_config('default_tablespace', '', true);
    create table if not exists router.deliveries (
        id              bigint not null default nextval('router.delivery_ids'),
        provider        text not null,
        account         text,                -- that the route told: the bot of Telegram
        received_at     timestamptz not null default now(),
        body            bytea,               -- null: scrubbed, since it held a message that its author has deleted
        is_compressed   boolean not null default false,  -- by zlib
        digest          bytea not null,      -- SHA-256 of the body as it came
        version         integer,             -- of the normalisers that have read it
        kinds           jsonb,               -- atoms by kind, with their number
        has_unknown     boolean not null default false,
        subjects        bigint[],            -- hashes of the messages whose text it may hold; null: none
        processed_at    timestamptz,         -- null: its effects are not there yet
        error           text,                -- why not, or which atoms were refused
        attempts        integer not null default 0,
        next_attempt_at timestamptz,         -- of one that is not processed: when that is due
        primary key (id, received_at)
    ) partition by range (received_at);
    create table if not exists router.deliveries_default partition of router.deliveries default;
    create index if not exists deliveries_by_time on router.deliveries (received_at, id);
    create index if not exists deliveries_unprocessed on router.deliveries (next_attempt_at, id) where processed_at is null;
    create index if not exists deliveries_unknown on router.deliveries (received_at) where has_unknown;
    create index if not exists deliveries_subjects on router.deliveries using gin (subjects) where subjects is not null;
    perform set_config('default_tablespace', v_space, true);
end
$migration$;

-- Effects whose target is not there yet, or that the application refuses: one row an atom.
create table if not exists router.waiting (
    channel       text collate "C" not null,
    atom_id       text collate "C" not null,
    kind          text not null,
    target        text collate "C",      -- the message, as the body names it
    token         text collate "C",      -- what wamids of one message have in common
    account       text collate "C",
    person        text collate "C",      -- in the canonical form of its identity
    effect        jsonb not null,        -- the line of the effect
    received_at   timestamptz not null default now(),
    expires_at    timestamptz not null,
    attempts      integer not null default 0,
    error         text,                  -- what the application raised, if it did
    primary key (channel, atom_id)
);
create index if not exists waiting_by_target on router.waiting (channel, target) where target is not null;
create index if not exists waiting_by_token on router.waiting (channel, token) where token is not null;
create index if not exists waiting_by_person on router.waiting (channel, person) where target is null;
create index if not exists waiting_by_expiry on router.waiting (expires_at);
create index if not exists waiting_by_arrival on router.waiting (received_at);

-- Up to when somebody has read, or been delivered, what we wrote: it holds for messages that come later as well.
create table if not exists router.watermarks (
    channel     text collate "C" not null,
    account     text collate "C" not null,  -- '' where none is told
    person      text collate "C" not null,
    status      text not null,              -- read or delivered
    until       timestamptz not null,
    at          timestamptz not null,
    received_at timestamptz not null default now(),
    primary key (channel, account, person, status, until)
);
create index if not exists watermarks_by_arrival on router.watermarks (received_at);
-- Referrals that came without a message: each belongs to the first message of that person from then on.
create table if not exists router.referrals (
    channel     text collate "C" not null,
    account     text collate "C" not null,
    person      text collate "C" not null,
    at          timestamptz not null,
    ord         text collate "C" not null,
    referral    jsonb not null,
    message_id  uuid,                      -- that has it now
    received_at timestamptz not null default now(),
    primary key (channel, account, person, at, ord)
);
create index if not exists referrals_by_message on router.referrals (message_id) where message_id is not null;
create index if not exists referrals_by_arrival on router.referrals (received_at);
-- What is remembered of edits beside the revisions: those that changed no text when they came, since one that was made before
-- them, and comes later, may give them something to do; and the attachments that edits told. The message as it was made is "".
create table if not exists router.silent_edits (
    message_id  uuid not null,
    ord         text collate "C" not null,
    revised_at  timestamptz not null,
    attachments jsonb,                     -- null: it told none
    received_at timestamptz not null default now(),
    primary key (message_id, ord)
);
create index if not exists silent_edits_by_arrival on router.silent_edits (received_at);
-- Replies whose message is not there, or not yet.
create table if not exists router.open_replies (
    message_id  uuid primary key,
    channel     text collate "C" not null,
    ref         text collate "C" not null,
    token       text collate "C",
    received_at timestamptz not null default now()
);
create index if not exists open_replies_by_ref on router.open_replies (channel, ref);
create index if not exists open_replies_by_token on router.open_replies (channel, token) where token is not null;
create index if not exists open_replies_by_arrival on router.open_replies (received_at);

-- Messages whose authors have deleted them, by the hash that router.deliveries knows them by: their texts do not come back
-- with a redelivery.
create table if not exists router.deleted_messages (
    subject    bigint primary key,
    deleted_at timestamptz not null default now()
);
create index if not exists deleted_messages_by_time on router.deleted_messages (deleted_at);
