-- A nullable column of webhook_events: no rewrite, no scan, the lock is held for an instant. Nothing is known of events that
-- were routed before it was there.

do $migration$
begin
    -- "if not exists" would take the exclusive lock only to find out that there is nothing to do.
    if not exists (select from pg_attribute
                   where attrelid = 'public.webhook_events'::regclass and attname = 'routed_by' and not attisdropped) then
        alter table public.webhook_events add column routed_by text;
        comment on column public.webhook_events.routed_by is
            'By which path webhook-router has routed the event: hot, sweep, kafka, gateway, intake, or call, for a function or '
            'a command that somebody has called; null: not routed, or not known.';
    elsif not exists (select from router.schema_migrations where version = '20260901001100')
          -- Of an installation that somebody has removed by hand, or of a dump without the list of migrations.
          and coalesce(col_description('public.webhook_events'::regclass,
                                       (select attnum from pg_attribute
                                        where attrelid = 'public.webhook_events'::regclass and attname = 'routed_by')), '')
              not like 'By which path webhook-router %' then
        insert into router.found (kind, name) values ('column', 'public.webhook_events.routed_by') on conflict do nothing;
    end if;
end
$migration$;
