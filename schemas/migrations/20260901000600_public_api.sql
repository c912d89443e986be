-- What else is decided about an installation, and remembered beside what the catalogue shows: a dump can be made, and
-- restored, without rights and comments.
--   public_api  whether anon and authenticated may call the public functions: `migrate --no-public-api`
--   service     whether webhook_router_service has rights in this database; the role itself belongs to the whole server
--   callers     who has been let call the public functions once: what is taken back from them later stays so
--   made        the tables in "public" that webhook-router has made; null or empty: none
alter table router.installation
    add column if not exists public_api boolean not null default true,
    add column if not exists service boolean,
    add column if not exists callers text[],
    add column if not exists made text[];

-- Tables without row security bore no comment in earlier versions. Those that were made together with the events did not
-- have the chance to be anybody else's.
do $migration$
declare
    v_table name;
begin
    for v_table in
        select c.relname
        from (values ('contacts', 'contacts_whatsapp_phone_key'), ('contact_channels', 'contact_channels_contact_id_idx')
             ) as w (table_name, index_name)
        join pg_class c on c.oid = to_regclass('public.' || w.table_name) and c.relkind = 'r'
        join pg_index i on i.indexrelid = to_regclass('public.' || w.index_name) and i.indrelid = c.oid
        where obj_description(c.oid, 'pg_class') is null
          and (select count(*)
               from pg_class m
               where m.relnamespace = 'public'::regnamespace and m.relowner = c.relowner
                 and m.relname in ('conversations', 'messages', 'message_analysis', 'webhook_events')
                 and starts_with(obj_description(m.oid, 'pg_class'), 'made by webhook-router')) = 4
    loop
        execute format('comment on table public.%I is %L', v_table, 'made by webhook-router');
    end loop;
end
$migration$;
