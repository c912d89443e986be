-- router.apply_kind: applies effects of one kind. The only place that says which function a kind has.
-- takes: effects; those that change messages have message_id. One may be there twice
-- returns: changed: how many changed something; waits: the places of those that found nothing to change
-- raises: what the application does, for all of them
create or replace function router.apply_kind(p_kind text, p_effects router.effect[], out changed integer, out waits integer[])
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $function$
begin
    waits := '{}';
    if p_kind in ('status', 'read', 'delivery') then
        changed := router.apply_statuses(p_effects);
    elsif p_kind = 'reaction' then
        changed := router.apply_reactions(p_effects);
    elsif p_kind = 'edit' then
        changed := router.apply_edits(p_effects);
    elsif p_kind = 'media' then
        changed := router.apply_media(p_effects);
    elsif p_kind = 'delete' then
        changed := router.apply_deletions(p_effects);
    else
        if p_kind in ('read_until', 'delivered_until') then
            waits := router.apply_watermarks(p_effects);
        elsif p_kind = 'handover' then
            waits := router.apply_handovers(p_effects);
        elsif p_kind = 'referral' then
            waits := router.apply_referrals(p_effects);
        elsif p_kind = 'marketing' then
            waits := router.apply_marketing(p_effects);
        elsif p_kind = 'system' then
            waits := router.apply_identities(p_effects);
        else
            raise exception 'effects of the kind "%" are not known', p_kind using errcode = 'invalid_parameter_value';
        end if;
        changed := cardinality(p_effects) - cardinality(waits);
    end if;
end
$function$;
