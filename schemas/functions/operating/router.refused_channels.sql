-- router.refused_channels: whose messages this database cannot hold, since a check of the application, of a
-- table or a domain, lists the channels that there may be, and theirs is not among them.
-- returns: a row a provider and table: provider; channel; table_name; reason: what refuses it; remedy: SQL for the owner of the
--   table. None if all channels are taken
-- reads: the catalogue
create or replace function router.refused_channels()
returns table (provider text, channel text, table_name text, reason text, remedy text)
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
set jit = off
as $function$
    with providers (provider, channel) as (
        values ('whatsapp', 'whatsapp'), ('instagram', 'instagram'), ('messenger', 'facebook'), ('telegram', 'telegram'),
               ('tiktok', 'tiktok')
    ), columns as (
        select t.name as table_name, a.attrelid, a.attnum, y.oid as type, format_type(y.oid, null) as type_name
        from (values ('webhook_events'), ('conversations'), ('contact_channels'), ('messages')) as t (name)
        join pg_attribute a on a.attrelid = to_regclass('public.' || t.name) and a.attname = 'channel' and not a.attisdropped
        join pg_type y on y.oid = a.atttypid
    ), checks as (
        select c.table_name, k.conname, k.contypid, c.type_name, pg_get_constraintdef(k.oid) as definition
        from columns c
        join pg_constraint k on k.contype = 'c'
                            and (k.conrelid = c.attrelid and c.attnum = any (k.conkey) or k.contypid = c.type)
    )
    select p.provider, p.channel, c.table_name,
           case when c.contypid = 0 then format('the check %I of public.%I does not have the channel %s', c.conname,
                                                c.table_name, p.channel)
                else format('the domain %s of public.%I.channel does not have the channel %s', c.type_name, c.table_name,
                            p.channel) end,
           case when c.contypid = 0
                then format('alter table public.%I drop constraint %I, add constraint %I check (%s or channel = %L);',
                            c.table_name, c.conname, c.conname, substring(c.definition from '^CHECK (.*?)( NOT VALID)?$'),
                            p.channel)
                else format('alter domain %s drop constraint %I; alter domain %s add constraint %I check (%s or value = %L);',
                            c.type_name, c.conname, c.type_name, c.conname,
                            substring(c.definition from '^CHECK (.*?)( NOT VALID)?$'), p.channel) end
    from providers p
    join checks c on c.definition ~ '''(whatsapp|facebook|instagram|tiktok|youtube|webchat|other)'''
                 and c.definition !~ '<>|!~|NOT ' and strpos(c.definition, p.channel) = 0
    order by 1, 3
$function$;
