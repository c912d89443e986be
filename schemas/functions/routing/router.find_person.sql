-- router.find_person: finds the channel of an author whose id a trigger of the application writes in another form: by doing
-- what would make it, and undoing that.
-- takes: as router.make_person
-- returns: the channel and its contact, with the name that it has; null if there is none
-- writes: nothing that stays
create or replace function router.find_person(
    p_id uuid, p_channel text, p_author_id text, p_name text, p_named_at timestamptz,
    out contact_id uuid, out channel_id uuid, out known_name text, out known_at timestamptz
)
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $function$
declare
    v_contact uuid;
    v_is_new  boolean;
    v_path    text;
begin
    v_path := pg_catalog.set_config('search_path', router.application_path(), true);
    insert into public.contacts as c (id, full_name) values (p_id, p_name) returning c.id into v_contact;
    insert into public.contact_channels as k (contact_id, channel, external_id, display_name, display_name_at, is_primary)
    values (v_contact, p_channel, p_author_id, p_name, p_named_at, true)
    on conflict (channel, external_id) do update set external_id = k.external_id
    returning k.contact_id, k.id, k.display_name, k.display_name_at, k.xmax::pg_catalog.text operator(pg_catalog.=) '0'
    into contact_id, channel_id, known_name, known_at, v_is_new;
    v_path := pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    raise exception using errcode = 'RW003', message = 'undo this';
exception
    when sqlstate 'RW003' then
        if v_is_new then
            contact_id := null;
            channel_id := null;
        end if;
    when transaction_rollback or insufficient_resources or operator_intervention or system_error or lock_not_available then
        raise;
    when others or assert_failure then
        contact_id := null;
        channel_id := null;
end
$function$;
