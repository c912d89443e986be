-- Turns a database of this release into one of the release before types had files, as far as the migrator can tell: one
-- type for an event and its target, none for what deliveries bring, functions that take it, a list that knows functions
-- only, a view of them alone.
drop view if exists router.function_fingerprints;
create view router.function_fingerprints as
select f.file, f.signature, f.made_now,
       md5(pg_get_functiondef(f.oid)
           || coalesce((select string_agg(pg_get_triggerdef(t.oid), ';' order by t.tgname)
                        from pg_trigger t where t.tgfoid = f.oid), '')) as fingerprint
from (
    select p.oid, n.nspname || '.' || p.proname || '.sql' as file, p.oid::regprocedure::text as signature,
           p.xmin = pg_current_xact_id_if_assigned()::xid as made_now
    from pg_proc p
    join pg_namespace n on n.oid = p.pronamespace
    where n.nspname in ('public', 'router') and p.prokind in ('f', 'p')
    offset 0
) f;
drop type router.event, router.target, router.fault, router.effect, router.made cascade;
create type router.event as (
    id uuid, channel text, type text, event_id text, author_id text, author_name text, post_id text, sent_at timestamptz,
    created_at timestamptz, has_message boolean, conversation_id uuid, contact_id uuid, channel_id uuid, known_name text,
    known_name_at timestamptz
);
create function router.find_messages(p_events router.event[]) returns router.event[] language sql as 'select p_events';
create function router.route_events(p_events router.event[]) returns integer language sql as 'select 0';
create function router.renames(p_event router.event) returns boolean language sql as 'select true';
drop function router.parked_contents(uuid[]);
create function router.dead_letter_contents(p_ids uuid[]) returns table (id uuid) language sql as 'select null::uuid';
delete from router.schema_functions;
insert into router.schema_functions (file, checksum, signature, fingerprint)
select file, 'of the release before', signature, fingerprint from router.function_fingerprints;
