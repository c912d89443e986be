-- What the first run finds in the application's tables, so that uninstalling takes away no more than was added. It runs after
-- bookkeeping.sql and before any migration, in their place also where they are applied already.
-- writes: router.found, once, and again where it was restored without its rows; router.history, empty

do $found$
declare
    v_is_first constant boolean := not exists (select from router.schema_migrations);
    -- An installation that somebody has removed by hand: its indexes are left.
    v_is_left  constant boolean := exists (
        select from pg_index i
        join pg_class c on c.oid = i.indexrelid
        where i.indrelid = to_regclass('public.webhook_events')
          and c.relname in ('router_ready_by_arrival', 'router_parked_by_next_attempt', 'router_ready_by_event_date')
    );
    v_none_is_listed  boolean := true;
    v_is_new          boolean := true;   -- the list
    v_is_without_rows boolean := false;
begin
    -- Events that were parked when the list of them was lost are on no list, and never due: they are ready again. That changes
    -- no row.
    if to_regclass('router.parked_events') is not null then
        execute 'select not exists (select from router.parked_events)' into v_none_is_listed;
    end if;
    if v_is_left and (to_regclass('router.parked_events') is null or v_is_first and v_none_is_listed)
       and exists (select from pg_attribute a
                   where a.attrelid = to_regclass('public.webhook_events') and a.attname = 'parked_until'
                     and not a.attisdropped) then
        begin
            alter table public.webhook_events drop column parked_until, add column parked_until timestamptz;
        exception
            when dependent_objects_still_exist then
                raise exception 'column public.webhook_events.parked_until is left over from an installation that was removed '
                                'by hand, and something depends on it'
                    using hint = 'Drop what depends on it, run this again, and make it again then.',
                          errcode = 'dependent_objects_still_exist';
        end;
    end if;
    if to_regclass('router.found') is null then
        create table router.found (
            -- 'table', 'column', 'check': one that was widened, as it was, or 'setting': of a table, as it was made
            kind text not null,
            name text not null,
            primary key (kind, name)
        );
    else
        -- Restored without its rows: then who made what shows by our comments alone.
        v_is_without_rows := v_is_first and not exists (select from router.found);
        v_is_new := false;
    end if;
    if v_is_new or v_is_without_rows then
        insert into router.found (kind, name)
        select 'table', 'public.' || c.relname
        from pg_class c
        where c.relnamespace = to_regnamespace('public') and c.relkind = 'r'
          and c.relname in ('contacts', 'contact_channels', 'conversations', 'messages', 'message_analysis', 'webhook_events',
                            'message_delivery', 'message_reactions', 'message_revisions')
          -- Earlier versions kept no list, but marked most of the tables that they made.
          and (v_is_first and v_is_new
               or coalesce(obj_description(c.oid, 'pg_class'), '') not like 'made by webhook-router%');
        insert into router.found (kind, name)
        select 'column', format('public.%I.%I', c.relname, a.attname)
        from pg_class c
        join router.found f on f.kind = 'table' and f.name = 'public.' || c.relname
        join pg_attribute a on a.attrelid = c.oid and not a.attisdropped
        where c.relnamespace = to_regnamespace('public')
          and (c.relname = 'webhook_events' and a.attname = 'routed_at'
               -- These have names that nobody else uses; but what is there first belongs to those who made it.
               or v_is_first and not v_is_left
                  and (c.relname = 'webhook_events' and a.attname = 'parked_until'
                       or c.relname = 'contact_channels' and a.attname = 'display_name_at'
                       or c.relname = 'webhook_events' and a.attname = 'normalized'
                       or c.relname = 'conversations' and a.attname = 'account_id'));
    end if;
    -- Marking what is older than a time as routed: see history.sql. One row.
    if to_regclass('router.history') is null then
        create table router.history (
            "only"  boolean primary key default true check ("only"),
            before  timestamptz not null,
            -- 'mark': events older than that get a routed_at. 'reset': the column was added with that value for all rows, and
            -- the others are to lose it. 'done'.
            state   text not null,
            block   bigint not null default 0,  -- of the table: all before it are done
            blocks  bigint not null,            -- to be done
            marked  bigint not null default 0
        );
    end if;
end
$found$;
