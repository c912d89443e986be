-- router.attachments_told: attachments as an edit tells them. What it leaves out of one that was there before it, by its id, is
-- still true: an edited caption names the picture by its id alone.
-- takes: the attachments before the edit; those that it tells, null for none
-- returns: the latter, each with all that is known of it
create or replace function router.attachments_told(p_before jsonb, p_told jsonb)
returns jsonb
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $function$
begin
    if p_told is null or jsonb_typeof(p_told) <> 'array' or jsonb_typeof(p_before) is distinct from 'array' then
        return p_told;
    end if;
    return (
        select coalesce(jsonb_agg(coalesce(b.attachment, '{}') || t.attachment order by t.place), '[]')
        from jsonb_array_elements(p_told) with ordinality t (attachment, place)
        left join lateral (
            select b.attachment
            from jsonb_array_elements(p_before) with ordinality b (attachment, place)
            where b.attachment ->> 'id' = t.attachment ->> 'id' and b.attachment ->> 'type' = t.attachment ->> 'type'
            order by b.place
            limit 1
        ) b on true
    );
end
$function$;
