-- Who has had a person erased, and when; nothing of the person.
create table if not exists router.erasures (
    id        uuid primary key default gen_random_uuid(),
    erased_at timestamptz not null default now(),
    erased_by text not null,
    gone      jsonb not null  -- how many rows, by table
);
comment on table router.erasures is 'Each webhook-router erase that has deleted something; nothing of the person.';
