-- What was decided about this installation, so that every later run of the migrator keeps to it.

-- One row. doorbell: whether inserting events notifies the service. A transaction that has notified cannot be prepared, so
-- an application with two-phase commit does without, and the service polls.
create table if not exists router.installation (
    "only"   boolean primary key default true check ("only"),
    doorbell boolean not null default true
);
-- What somebody has dropped of it; the row is the only one.
do $migration$
begin
    if not exists (select from pg_attribute a
                   where a.attrelid = 'router.installation'::regclass and a.attname = 'doorbell' and not a.attisdropped) then
        alter table router.installation add column doorbell boolean not null default true;
    end if;
    if not exists (select from pg_attribute a
                   where a.attrelid = 'router.installation'::regclass and a.attname = 'only' and not a.attisdropped) then
        delete from router.installation where ctid <> (select min(i.ctid) from router.installation i);
        alter table router.installation add column "only" boolean default true check ("only");
    end if;
    if not exists (select from pg_index i where i.indrelid = 'router.installation'::regclass and i.indisprimary) then
        alter table router.installation add primary key ("only");
    end if;
end
$migration$;
insert into router.installation ("only") values (true) on conflict do nothing;
