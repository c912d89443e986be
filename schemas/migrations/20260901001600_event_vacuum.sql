-- Each event is inserted, and updated once when it is routed: half of its table is dead sooner or later. By the default, vacuum
-- comes when a fifth of all rows is dead, however long they are kept; with this it comes while the pages are still in memory.
-- Only where nobody has decided otherwise, for the table or for the server. It needs no rewrite, and stops no traffic.

do $migration$
begin
    if exists (select
               from pg_class c
               where c.oid = 'public.webhook_events'::regclass and c.relkind = 'r'
                 and not exists (select from unnest(c.reloptions) o where o like 'autovacuum%'))
       and exists (select
                   from pg_settings s
                   where s.name = 'autovacuum_vacuum_scale_factor' and s.setting = s.boot_val) then
        alter table public.webhook_events set (autovacuum_vacuum_scale_factor = 0.02);
        insert into router.found (kind, name)
        values ('setting', 'public.webhook_events autovacuum_vacuum_scale_factor=0.02')
        on conflict do nothing;
    end if;
end
$migration$;
