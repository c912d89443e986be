-- router.refuse_hidden: raises an error if row level security keeps rows of tables of the application from their owner, as whom
-- the functions run.
-- takes: names of tables in "public"; what is about to be done with their rows, as pg_policy has it: r (read), w (update), d (delete)
-- raises: object_not_in_prerequisite_state, for the first of the tables
create or replace function router.refuse_hidden(p_tables text[], p_commands text[])
returns void
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $function$
declare
    v_table text;
begin
    foreach v_table in array p_tables loop
        if row_security_active(format('public.%I', v_table)::regclass) and exists (
            select
            from unnest(p_commands) as c (command)
            left join lateral (
                select bool_or(p.polpermissive and pg_get_expr(p.polqual, p.polrelid) = 'true') as opens,
                       bool_or(not p.polpermissive) as narrows
                from pg_policy p
                where p.polrelid = format('public.%I', v_table)::regclass and p.polcmd::text in ('*', c.command)
                  and exists (select from unnest(p.polroles) as r (id)
                              where r.id = 0 or pg_has_role(current_user, r.id, 'usage'))
            ) p on true
            where p.opens is not true or p.narrows
        ) then
            raise exception 'row level security hides rows of public.% from their owner "%"', v_table, current_user
                using errcode = 'object_not_in_prerequisite_state', table = v_table,
                      hint = format('alter table public.%I no force row level security; '
                                    'or a policy for all that lets this role see and update each row.', v_table);
        end if;
    end loop;
end
$function$;
