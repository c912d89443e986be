-- router.refuse_kept: raises an error if rows were to be deleted and are still there.
-- takes: the table; how many rows it was about, and how many have gone
-- raises: object_not_in_prerequisite_state
create or replace function router.refuse_kept(p_table text, p_wanted bigint, p_gone bigint)
returns void
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $function$
begin
    if p_gone < p_wanted then
        raise exception 'a trigger or rule on % keeps % of % rows', p_table, p_wanted - p_gone, p_wanted
            using errcode = 'object_not_in_prerequisite_state', table = p_table;
    end if;
end
$function$;
