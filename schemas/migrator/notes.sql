-- What prevents nothing, but is better known: settings, replication and columns of this database that change what the router
-- can promise. It only reads.
-- returns: note (one line)

with wanted_tables (table_name) as (
    values ('contacts'), ('contact_channels'), ('conversations'), ('messages'), ('message_analysis'), ('webhook_events')
), tables as (
    select w.table_name, c.oid, c.relpersistence, c.relispartition, w.table_name = 'webhook_events' as is_events
    from wanted_tables w
    join pg_class c on c.oid = to_regclass('public.' || w.table_name) and c.relkind = 'r'
), readable as (
    -- Tables that this role may read. Even a query that is only planned computes what is constant in predicates of
    -- indexes, in statistics and in constraints: to a superuser those are closed that call what is not of the catalogue.
    select n.nspname, c.relname, c.oid
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    where (n.nspname = 'router' and c.relname = 'installation' and c.relkind = 'r'
           or n.nspname = 'public' and c.relname = 'webhook_events' and c.relkind = 'r'
           or n.nspname = 'router' and c.relname = 'deliveries' and c.relkind = 'p'
              -- Its partitions have predicates of their own.
              and not exists (select from pg_roles r where r.rolname = current_user and r.rolsuper))
      and has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'select')
      and not (exists (select from pg_roles r where r.rolname = current_user and r.rolsuper)
               and exists (
                   select
                   from pg_depend part
                   left join pg_attrdef f on part.classid = 'pg_attrdef'::regclass and f.oid = part.objid
                   left join pg_attribute a on a.attrelid = f.adrelid and a.attnum = f.adnum
                   join pg_depend d on d.classid = part.classid and d.objid = part.objid
                   where part.refclassid = 'pg_class'::regclass and part.refobjid = c.oid
                     and (part.classid in ('pg_class'::regclass, 'pg_constraint'::regclass, 'pg_statistic_ext'::regclass)
                          or a.attgenerated = 'v')
                     and d.refclassid in ('pg_proc'::regclass, 'pg_operator'::regclass, 'pg_type'::regclass)))
), queries as (
    -- Tables that may be missing or closed to this role are named in texts, which ts_stat runs; what they find is its "word".
    select case when exists (select
                             from readable t
                             join pg_attribute a on a.attrelid = t.oid and a.attname = 'doorbell' and not a.attisdropped
                             where t.nspname = 'router' and a.atttypid = 'boolean'::regtype)
                then 'select array_to_tsvector(array[i.doorbell::text]) from only router.installation i'
                else 'select ''''::tsvector' end as installation,
           case when exists (select from pg_attribute a
                             join pg_attribute r on r.attrelid = a.attrelid and r.attname = 'routed_at' and not r.attisdropped
                             join readable t on t.oid = a.attrelid
                             where t.nspname = 'public' and a.attname = 'created_at'
                               and not a.attisdropped and not a.attnotnull)
                then 'select array_to_tsvector(array[''found'']) from (select from only public.webhook_events w '
                     || 'where w.routed_at is null and w.created_at is null limit 1) w'
                else 'select ''''::tsvector' end as undated
), state as (
    select coalesce((select s.word from ts_stat(q.installation) s), 'true') = 'true' as wants_doorbell,
           exists (select from ts_stat(q.undated)) as has_undated
    from queries q
), sometimes_null (table_name, column_name, whose) as (
    values ('contacts', 'full_name', 'of people without a name'),
           ('contact_channels', 'display_name', 'of people without a name'),
           ('conversations', 'contact_id', 'without an author'), ('messages', 'contact_id', 'without an author'),
           ('messages', 'content_text', 'without a text'), ('webhook_events', 'author_id', 'without an author'),
           ('webhook_events', 'author_name', 'of people without a name'), ('webhook_events', 'content', 'without a text'),
           ('webhook_events', 'post_id', 'without a post'), ('webhook_events', 'conversation_id', 'without a conversation')
)

select format('max_prepared_transactions is %s: PREPARE TRANSACTION fails in a transaction that has inserted into '
              'webhook_events, since the doorbell notifies. An application that does so needs: webhook-router migrate '
              '--no-doorbell',
              current_setting('max_prepared_transactions')) as note
from state s
where s.wants_doorbell and current_setting('max_prepared_transactions')::integer > 0

union all
select format('publication %I publishes the tables of the private schema "router" too: a subscriber without them stops at '
              'their first change. Before this database is migrated, run webhook-router migrate on each subscriber, or let the '
              'publication name its own tables (from Postgres 15: for tables in schema public)', p.pubname)
from pg_publication p
where p.puballtables
   or exists (select from pg_publication_tables l where l.pubname = p.pubname and l.schemaname = 'router')

union all
select 'public.webhook_events is filled by a subscription: rows that replication writes do not ring the doorbell, so the '
       'service polls for them'
where exists (select from pg_subscription_rel r where r.srrelid = to_regclass('public.webhook_events'))

union all
select format('the doorbell is %s, so the service polls. To enable it: alter table public.webhook_events enable trigger '
              'webhook_router_doorbell;', case g.tgenabled when 'R' then 'enabled for replicas only' else 'disabled' end)
from state s
join pg_trigger g on g.tgrelid = to_regclass('public.webhook_events') and g.tgname = 'webhook_router_doorbell'
where s.wants_doorbell and g.tgenabled in ('D', 'R')

union all
-- What is inserted there is not seen by the router.
select format('role "%s" finds %I.webhook_events before public.webhook_events: what it writes without naming the schema is '
              'never routed. To change it: alter role %I%s set search_path = public, %I;', r.rolname, n.nspname, r.rolname,
              case when p.is_here then format(' in database %I', current_database()) else '' end, n.nspname)
from pg_roles r
cross join lateral (
    -- The setting that holds: of the role here, of the role, of the database, of the server.
    select x.path, x.is_here
    from (select substr(s.setting, 13) as path, d.setrole <> 0 and d.setdatabase <> 0 as is_here,
                 case when d.setrole <> 0 and d.setdatabase <> 0 then 1 when d.setrole <> 0 then 2 else 3 end as rank
          from pg_db_role_setting d
          cross join lateral unnest(d.setconfig) as s (setting)
          where starts_with(s.setting, 'search_path=') and d.setrole in (0, r.oid)
            and d.setdatabase in (0, (select b.oid from pg_database b where b.datname = current_database()))
          union all
          select c.boot_val, false, 4 from pg_settings c where c.name = 'search_path') x
    order by x.rank
    limit 1
) p
cross join lateral regexp_split_to_table(p.path, '[[:space:]]*,[[:space:]]*') with ordinality as e (element, place)
join pg_namespace n on n.nspname = case trim(both '"' from e.element) when '$user' then r.rolname
                                        else trim(both '"' from e.element) end
join pg_class c on c.relnamespace = n.oid and c.relname = 'webhook_events' and c.relkind in ('r', 'p', 'v', 'm', 'f')
where r.rolcanlogin and n.nspname <> 'public' and to_regclass('public.webhook_events') is not null
  and not exists (
      select
      from regexp_split_to_table(p.path, '[[:space:]]*,[[:space:]]*') with ordinality as o (element, place)
      where trim(both '"' from o.element) = 'public' and o.place < e.place)

union all
select format('session_replication_role is "replica" by default for %s: inserts do not ring the doorbell, and no trigger or '
              'foreign key of the application takes effect',
              string_agg(coalesce(r.rolname, 'every role'), ', ' order by r.rolname))
from pg_db_role_setting d
left join pg_roles r on r.oid = d.setrole
where 'session_replication_role=replica' = any (d.setconfig)
  and d.setdatabase in (0, (select b.oid from pg_database b where b.datname = current_database()))
having count(*) > 0

union all
select format('synchronous_standby_names is "%s", and no standby is connected: every commit waits for one',
              current_setting('synchronous_standby_names'))
where current_setting('synchronous_standby_names') <> '' and current_setting('synchronous_commit') not in ('off', 'local')
  and not pg_is_in_recovery()
  and not exists (select from pg_stat_replication)

union all
select 'unrouted events have no created_at, the time of their arrival: they are routed, but their age is unknown. To prevent '
       'it: alter table public.webhook_events alter column created_at set default now();'
from state s
where s.has_undated

union all
select format('constraint %I of public.%s does not allow the channel %s: what %s sends is not taken, until it is added there',
              k.conname, t.name, p.channel, p.provider)
from (values ('whatsapp', 'whatsapp'), ('instagram', 'instagram'), ('messenger', 'facebook'), ('telegram', 'telegram'),
             ('tiktok', 'tiktok')) as p (provider, channel)
cross join (values ('webhook_events'), ('conversations'), ('contact_channels'), ('messages')) as t (name)
join pg_attribute a on a.attrelid = to_regclass('public.' || t.name) and a.attname = 'channel' and not a.attisdropped
join pg_constraint k on k.contype = 'c' and (k.conrelid = a.attrelid and a.attnum = any (k.conkey) or k.contypid = a.atttypid)
cross join lateral (select pg_get_constraintdef(k.oid) as words) d
where d.words ~ '''(whatsapp|facebook|instagram|tiktok|youtube|webchat|other)''' and d.words !~ '<>|!~|NOT '
  and strpos(d.words, p.channel) = 0
  -- Before that, migrations widen it.
  and exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace
              where n.nspname = 'router' and c.relname = 'deliveries')

union all
select format('column public.%s.%s is not null: an event %s cannot be %s, unless a trigger fills it', n.table_name,
              n.column_name, n.whose, case when n.table_name = 'webhook_events' then 'stored' else 'routed' end)
from sometimes_null n
join tables t using (table_name)
join pg_attribute a on a.attrelid = t.oid and a.attname = n.column_name and not a.attisdropped
join pg_type y on y.oid = a.atttypid and (a.attnotnull or y.typnotnull)

union all
select 'column public.webhook_events.routed_by is there already: routing writes there by which path it routes an event, and what '
       'it held of that event is lost. To keep it: alter table public.webhook_events rename column routed_by to routed_by_before;'
from tables t
join pg_attribute a on a.attrelid = t.oid and a.attname = 'routed_by' and not a.attisdropped
where t.is_events and coalesce(col_description(t.oid, a.attnum), '') not like 'By which path webhook-router %'
  -- Until that is so.
  and not exists (select from pg_proc p
                  where p.pronamespace = to_regnamespace('router') and p.proname = 'mark_routed' and p.prosrc like '%routed_by%')

union all
select 'column public.messages.id has no default, and auto_reply_stub does not fill it, unless a trigger does'
from tables t
join pg_attribute a on a.attrelid = t.oid and a.attname = 'id' and not a.attisdropped and not a.atthasdef
where t.table_name = 'messages'

union all
select format('rule %I on public.%s works on what routing writes, and not on what triggers make of it', r.rulename,
              t.table_name)
from tables t
join pg_rewrite r on r.ev_class = t.oid and r.ev_type in ('2', '3') and r.ev_enabled in ('O', 'A') and not r.is_instead
where t.table_name in ('conversations', 'messages')

union all
select format('public.%s has child tables (%s): no key covers their rows, and their inserts do not ring the doorbell',
              t.table_name, string_agg(i.inhrelid::regclass::text, ', '))
from tables t
join pg_inherits i on i.inhparent = t.oid
group by t.table_name

union all
select format('public.webhook_events is a child of %s: what is inserted there does not ring the doorbell, so the service '
              'polls for it', i.inhparent::regclass)
from tables t
join pg_inherits i on i.inhrelid = t.oid
where t.is_events

union all
select format('public.%s is unlogged: a crash of the server empties it, and a standby does not have it', t.table_name)
from tables t
where t.relpersistence = 'u'
