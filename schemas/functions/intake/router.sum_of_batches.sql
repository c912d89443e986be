-- router.sum_of_batches: what became of the events of two parts of one call, see router.batch.
create or replace function router.sum_of_batches(p_one router.batch, p_other router.batch)
returns router.batch
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $function$
declare
    v_sum router.batch := p_other;
begin
    v_sum.claimed := p_one.claimed + p_other.claimed;
    v_sum.inserted := p_one.inserted + p_other.inserted;
    v_sum.parked := p_one.parked + p_other.parked;
    v_sum.dead := p_one.dead + p_other.dead;
    v_sum.channels := p_one.channels || p_other.channels;
    v_sum.ages := p_one.ages || p_other.ages;
    v_sum.held := p_one.held + p_other.held;
    v_sum.held_reason := coalesce(p_one.held_reason, p_other.held_reason);
    v_sum.faults := p_one.faults + p_other.faults;
    return v_sum;
end
$function$;
