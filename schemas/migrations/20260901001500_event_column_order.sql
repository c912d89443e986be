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
        -- Dropping a column takes along what depends on it alone: indexes, checks and statistics of the application among it.
        if not exists (select from public.webhook_events)
           and col_description('public.webhook_events'::regclass,
                               (select a.attnum from pg_attribute a
                                where a.attrelid = 'public.webhook_events'::regclass and a.attname = 'conversation_id')) is null
           and (select count(*) = 1
                       and bool_and(k.contype = 'f' and cardinality(k.conkey) = 1 and k.confdeltype = 'n' and k.confupdtype = 'a'
                                    and k.confrelid = 'public.conversations'::regclass and k.convalidated
                                    and not k.condeferrable)
                from pg_depend d
                join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
                left join pg_constraint k on d.classid = 'pg_constraint'::regclass and k.oid = d.objid
                where d.refclassid = 'pg_class'::regclass and d.refobjid = 'public.webhook_events'::regclass
                  and a.attname = 'conversation_id') then
            alter table public.webhook_events
                drop column conversation_id,
                add column conversation_id uuid references public.conversations (id) on delete set null;
        end if;
    end if;
end
$migration$;
