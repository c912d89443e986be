-- In a table of ours that holds nothing yet, what routing sets comes after what an event brings. The log of an update has only what
-- lies between the first column that changes and the last: with conversation_id before raw_payload and routed_at after it, each
-- event was logged twice. Tables of the application, and those that hold events, stay as they are.

do $migration$
begin
    if obj_description('public.webhook_events'::regclass, 'pg_class') like 'made by webhook-router%'
       and exists (select
                   from pg_attribute c
                   join pg_attribute p on p.attrelid = c.attrelid and p.attname = 'raw_payload' and c.attnum < p.attnum
                   where c.attrelid = 'public.webhook_events'::regclass and c.attname = 'conversation_id'
                     and c.atttypid = 'uuid'::regtype and not c.attnotnull and not c.atthasdef and c.attacl is null) then
        lock table public.webhook_events in access exclusive mode;
        if not exists (select from public.webhook_events) then
            begin
                alter table public.webhook_events
                    drop column conversation_id,
                    add column conversation_id uuid references public.conversations (id) on delete set null;
            exception
                when dependent_objects_still_exist then
                    null;  -- a view or an index of the application
            end;
        end if;
    end if;
end
$migration$;
