-- How far the records of topics are in effect here. The group's own offsets say nothing of a database that has gone back.
-- A row for each partition, which every call updates: it leaves room for the versions of a row beside it.
create table if not exists router.kafka_positions (
    group_id    text collate "C" not null,
    topic       text collate "C" not null,
    partition   integer not null,
    next_offset bigint not null,   -- the first record that is not in effect
    skipped     bigint,            -- a record that cannot be read, and that an operator has given up
    noted_at    timestamptz not null default now(),
    primary key (group_id, topic, partition)
) with (fillfactor = 50);
