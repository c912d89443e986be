-- router.refuse_hidden_rows: raises an error if row level security keeps rows of webhook_events from the functions, which run
-- as the owner of the tables: "force row level security" does, unless a policy lets the owner through or it may bypass them.
-- Events would wait for ever, and all would look well. Called when nothing was found.
-- raises: object_not_in_prerequisite_state
create or replace function router.refuse_hidden_rows()
returns void
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $function$
begin
    if not row_security_active('public.webhook_events'::regclass) then
        return;
    end if;
    if exists (
        select
        from (values ('r'), ('w')) as c (command)
        left join lateral (
            select bool_or(p.polpermissive and pg_get_expr(p.polqual, p.polrelid) = 'true') as opens,
                   bool_or(not p.polpermissive) as narrows
            from pg_policy p
            where p.polrelid = 'public.webhook_events'::regclass and p.polcmd::text in ('*', c.command)
              and exists (select from unnest(p.polroles) as r (id)
                          where r.id = 0 or pg_has_role(current_user, r.id, 'usage'))
        ) p on true
        where p.opens is not true or p.narrows
    ) then
        raise exception 'row level security hides rows of public.webhook_events from their owner "%"', current_user
            using errcode = 'object_not_in_prerequisite_state',
                  hint = 'alter table public.webhook_events no force row level security; '
                         'or a policy for all that lets this role see and update each row.';
    end if;
end
$function$;
