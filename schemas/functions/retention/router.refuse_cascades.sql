-- router.refuse_cascades: raises an error if deleting an event would delete or change what retention never touches: a foreign key
-- of the application that leads to webhook_events, also by way of other tables, takes messages, conversations and the like along,
-- or other events.
-- raises: object_not_in_prerequisite_state
create or replace function router.refuse_cascades()
returns void
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $function$
declare
    v_found record;
begin
    with recursive reached (id) as (
        select 'public.webhook_events'::regclass::oid
        union
        select c.conrelid
        from reached r
        join pg_constraint c on c.confrelid = r.id
        where c.contype = 'f' and c.confdeltype = 'c'
    )
    select t.relname, c.conname
    into v_found
    from reached r
    join pg_constraint c on c.confrelid = r.id
    join pg_class t on t.oid = c.conrelid
    where c.contype = 'f' and t.relnamespace = 'public'::regnamespace
      and (t.relname in ('contacts', 'contact_channels', 'conversations', 'messages', 'message_analysis')
           and c.confdeltype in ('c', 'n', 'd')
           or t.relname = 'webhook_events' and c.confdeltype = 'c')
    order by t.relname, c.conname
    limit 1;
    if found then
        raise exception 'deleting an event would change public.%, by its foreign key "%"', v_found.relname, v_found.conname
            using errcode = 'object_not_in_prerequisite_state', table = v_found.relname, constraint = v_found.conname,
                  hint = 'Have the foreign key keep the event (on delete restrict), or drop it.';
    end if;
end
$function$;
