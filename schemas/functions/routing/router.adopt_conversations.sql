-- router.adopt_conversations: gives conversations that belong to no account yet the one of the events that go into them, and
-- opens those that were made for history, when the first live message comes.
-- takes: events and their targets
-- returns: false if another batch has given one of them to another account: look again
-- raises: RW004 if two events want one of them for two accounts: route them one after the other
-- writes: conversations, those alone that change
-- locks: if any of them changes, all conversations that get a message, in the order of their id, as router.touch_conversations
create or replace function router.adopt_conversations(p_events router.event[], p_targets router.target[])
returns boolean
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $function$
declare
    v_taken boolean;
    v_path  text;
begin
    if not exists (select from unnest(p_targets) t where t.is_adopted and not t.has_message) then
        return true;
    end if;
    if exists (
        select
        from rows from (unnest(p_events), unnest(p_targets)) e
        where e.is_adopted and not e.has_message
        group by e.conversation_id
        having count(distinct e.normalized ->> 'account') > 1
    ) then
        raise exception using errcode = 'RW004', message = 'two accounts want one conversation';
    end if;

    select bool_or(v.account_id is not null and v.account_id <> t.account) into v_taken
    from (
        select e.conversation_id,
               max(e.normalized ->> 'account') filter (where e.is_adopted) as account
        from rows from (unnest(p_events), unnest(p_targets)) e
        where not e.has_message
        group by e.conversation_id
        order by e.conversation_id
    ) t
    cross join lateral (
        select v.account_id from public.conversations v where v.id = t.conversation_id limit 1 for no key update
    ) v;
    if v_taken then
        return false;
    end if;

    v_path := pg_catalog.set_config('search_path', router.application_path(), true);
    update public.conversations v
    set account_id = coalesce(v.account_id, t.account),
        channel_conversation_id = coalesce(v.channel_conversation_id, t.thread),
        status = case when t.is_live and v.status operator(pg_catalog.=) 'closed'
                           and coalesce(v.metadata, '{}') operator(pg_catalog.?) 'history' then 'open' else v.status end,
        metadata = case when t.is_live then v.metadata operator(pg_catalog.-) 'history' else v.metadata end,
        updated_at = pg_catalog.now()
    from (
        select e.conversation_id,
               pg_catalog.max(e.normalized operator(pg_catalog.->>) 'account') as account,
               pg_catalog.max(e.normalized operator(pg_catalog.->>) 'thread') filter (where e.author_id is not null) as thread,
               pg_catalog.bool_or(e.normalized operator(pg_catalog.->>) 'history' is null) as is_live
        from rows from (pg_catalog.unnest(p_events), pg_catalog.unnest(p_targets)) e
        where e.is_adopted and not e.has_message
        group by e.conversation_id
        order by e.conversation_id
    ) t
    where v.id operator(pg_catalog.=) any (array[t.conversation_id]);
    v_path := pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    return true;
end
$function$;
