-- What routing needs besides the contract's tables: a nullable column (no rewrite, no scan: the lock is held for an
-- instant) and the private schema "router".

do $migration$
begin
    -- Event time of display_name: the latest name wins in whatever order events are routed.
    -- "if not exists" would take the exclusive lock only to find out that there is nothing to do.
    if not exists (select from pg_attribute
                   where attrelid = 'public.contact_channels'::regclass and attname = 'display_name_at' and not attisdropped) then
        alter table public.contact_channels add column display_name_at timestamptz;
    end if;
    -- "if not exists" would ask for the right to create a schema.
    if to_regnamespace('router') is null then
        create schema router;
    end if;
end
$migration$;

revoke all on schema router from public;

-- One row for each event that could not be routed. The state that claims read is webhook_events.parked_until.
-- No foreign key: it would forbid the application to truncate webhook_events. Whoever reads this table joins the event.
create table if not exists router.parked_events (
    event_id        uuid primary key,
    channel         text not null,
    error_code      text not null,
    error_message   text not null,
    attempts        integer not null default 1,
    first_parked_at timestamptz not null default now(),
    last_parked_at  timestamptz not null default now(),
    next_attempt_at timestamptz not null,
    discarded_at    timestamptz
);
comment on table router.parked_events is 'Events set aside after a failed routing; next_attempt_at infinity: dead.';
-- What somebody has dropped of it. A superuser reads and changes the events with the rights of their owner, who can hang
-- triggers on them, and functions in their indexes.
do $migration$
declare
    v_lost  record;
    v_owner text := (select case when m.rolsuper then c.relowner::regrole::text else 'current_user' end
                     from pg_class c
                     join pg_roles m on m.rolname = current_user
                     where c.oid = 'public.webhook_events'::regclass);
begin
    for v_lost in
        select w.name, w.definition
        from (values ('event_id', 'uuid'), ('channel', $$text not null default ''$$),
                     ('error_code', $$text not null default ''$$), ('error_message', $$text not null default ''$$),
                     ('attempts', 'integer not null default 1'), ('first_parked_at', 'timestamptz not null default now()'),
                     ('last_parked_at', 'timestamptz not null default now()'),
                     ('next_attempt_at', 'timestamptz not null default now()'), ('discarded_at', 'timestamptz')
             ) as w (name, definition)
        where not exists (select from pg_attribute a
                          where a.attrelid = 'router.parked_events'::regclass and a.attname = w.name and not a.attisdropped)
    loop
        if v_lost.name = 'event_id' then
            -- Nothing tells of which events these rows speak: those that wait are tried once more.
            delete from router.parked_events;
            create function pg_temp.webhook_router_try_again() returns void
            language plpgsql security definer set search_path = pg_catalog, pg_temp
            as $function$
            begin
                perform set_config('search_path', 'pg_catalog, public, extensions, pg_temp', true);
                update public.webhook_events
                set parked_until = null
                where routed_at is null and parked_until is not null;
                set constraints all immediate;  -- what waits for the commit would run with the rights of the session
            end
            $function$;
            execute 'alter function pg_temp.webhook_router_try_again() owner to ' || v_owner;
            perform pg_temp.webhook_router_try_again();
            drop function pg_temp.webhook_router_try_again();
        end if;
        execute format('alter table router.parked_events add column %I %s', v_lost.name, v_lost.definition);
        if v_lost.name in ('channel', 'error_code', 'error_message', 'next_attempt_at') then
            execute format('alter table router.parked_events alter column %I drop default', v_lost.name);
        end if;
        if v_lost.name = 'next_attempt_at' then
            create function pg_temp.webhook_router_waiting() returns table (id uuid, parked_until timestamptz)
            language sql stable security definer set search_path = pg_catalog, pg_temp
            as 'select w.id, w.parked_until from public.webhook_events w where w.parked_until is not null';
            execute 'alter function pg_temp.webhook_router_waiting() owner to ' || v_owner;
            update router.parked_events p set next_attempt_at = w.parked_until
            from pg_temp.webhook_router_waiting() w
            where w.id = p.event_id;
            drop function pg_temp.webhook_router_waiting();
        end if;
    end loop;
    if not exists (select from pg_index i where i.indrelid = 'router.parked_events'::regclass and i.indisprimary) then
        alter table router.parked_events add primary key (event_id);
    end if;
end
$migration$;
create index if not exists parked_events_by_time on router.parked_events (last_parked_at);

-- An event as the routing functions hand it around: what decides where it goes, without its content.
do $migration$
begin
    if to_regtype('router.event') is null then
        create type router.event as (
            id              uuid,
            channel         text,
            type            text,
            event_id        text,
            author_id       text,         -- null when blank
            author_name     text,
            post_id         text,
            sent_at         timestamptz,  -- event_date, or the arrival where there is none
            created_at      timestamptz,
            has_message     boolean,      -- its message exists already: it makes nothing, it is only marked
            conversation_id uuid,         -- from here on: filled in by router.find_targets
            contact_id      uuid,
            channel_id      uuid,         -- of the author's row in contact_channels
            known_name      text,
            known_name_at   timestamptz
        );
    end if;
    if to_regtype('router.batch') is null then
        create type router.batch as (
            claimed    integer,
            inserted   integer,      -- messages made
            parked     integer,
            dead       integer,      -- those of the parked that get no further attempt
            channels   text[],       -- of each routed event
            ages       real[],       -- seconds since created_at, of each routed event
            reached_at timestamptz,  -- everything visible up to here has been claimed, by this call or before
            reached_id uuid,
            seconds    double precision  -- from the start of the statement to the end of the work, without the commit
        );
    end if;
end
$migration$;
