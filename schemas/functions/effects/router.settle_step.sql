-- router.settle_step: a part of router.settle that the next sweep makes up for, should the application refuse what it writes.
-- takes: which one: replies to new messages, referrals, or comments of ours that have waited for the new ones; the messages
-- raises: what will pass
-- writes: see router.link_replies, router.move_referrals, router.release_comments
create or replace function router.settle_step(p_step text, p_made router.made[])
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $function$
begin
    if p_step = 'replies' then
        perform router.link_replies(p_made);
    elsif p_step = 'referrals' then
        perform router.move_referrals(p_made);
    else
        perform router.release_comments(p_made);
    end if;
exception
    when transaction_rollback or insufficient_resources or operator_intervention or system_error
         or lock_not_available or invalid_transaction_state then
        raise;
    when others or assert_failure then
        null;
end
$function$;
