-- What was decided about this installation, so that every later run of the migrator keeps to it.

-- One row. doorbell: whether inserting events notifies the service. A transaction that has notified cannot be prepared, so
-- an application with two-phase commit does without, and the service polls.
create table if not exists router.installation (
    "only"   boolean primary key default true check ("only"),
    doorbell boolean not null default true
);
insert into router.installation ("only") values (true) on conflict do nothing;
