-- router.retry_replies: one step of going through the messages that answer something which is not there: links those whose
-- message is there by now, since the application has inserted it, say. After a month they are left alone.
-- takes: how many; the place that the last step has returned, null to begin
-- returns: where the next step goes on; null: these were the last ones
-- writes: see router.link_open_replies; nothing for what still waits
create or replace function router.retry_replies(p_limit integer, p_after uuid)
returns uuid
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_sort = off
set enable_incremental_sort = off
set jit = off
as $function$
declare
    v_replies constant uuid[] := array(
        select r.message_id
        from router.open_replies r
        where r.message_id > coalesce(p_after, '00000000-0000-0000-0000-000000000000')
        order by r.message_id
        limit p_limit
    );
begin
    if v_replies = '{}' then
        return null;
    end if;
    begin
        perform router.link_open_replies(v_replies);
    exception
        when transaction_rollback or insufficient_resources or operator_intervention or system_error
             or lock_not_available or invalid_transaction_state then
            raise;
        when others or assert_failure then
            for v_place in 1..cardinality(v_replies) loop  -- the application refuses one of them
                begin
                    perform router.link_open_replies(v_replies[v_place:v_place]);
                exception
                    when transaction_rollback or insufficient_resources or operator_intervention or system_error
                         or lock_not_available or invalid_transaction_state then
                        raise;
                    when others or assert_failure then
                        null;
                end;
            end loop;
    end;
    delete from router.open_replies r
    where r.message_id = any (v_replies) and r.received_at < now() - interval '30 days';
    return case when cardinality(v_replies) = p_limit then v_replies[p_limit] end;
end
$function$;
