-- router.merged: what normalisers have told of an event, once and again: what is new is added, and nothing is taken away. So a
-- flag that was told once stays, whatever comes first.
-- takes: "normalized" as it is, null for none; further ones, in their order
-- returns: all of it; what several of them tell is as the first one has it, but for the status of a history: it is the furthest
create or replace function router.merged(p_known jsonb, p_told jsonb[])
returns jsonb
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $function$
declare
    v_ranks  constant text[] := array['sent', 'failed', 'delivered', 'read', 'played'];  -- as in router.apply_statuses
    v_merged jsonb := coalesce(p_known, '{}');
    v_told   jsonb;
begin
    foreach v_told in array p_told loop
        continue when jsonb_typeof(v_told) <> 'object';
        v_merged := case when jsonb_typeof(v_told -> 'metadata') = 'object'
                         then v_told || v_merged || jsonb_build_object('metadata', (v_told -> 'metadata')
                                                                       || coalesce(v_merged -> 'metadata', '{}'))
                         else v_told || v_merged end;
        if array_position(v_ranks, v_told ->> 'status') > array_position(v_ranks, v_merged ->> 'status') then
            v_merged := v_merged || jsonb_build_object('status', v_told -> 'status');
        end if;
    end loop;
    return v_merged;
end
$function$;
