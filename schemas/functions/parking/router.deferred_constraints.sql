-- router.deferred_constraints: the constraints that are checked at the commit unless somebody asks for it, constraint
-- triggers among them. They have no common switch that would leave those alone that the caller of a transaction has deferred.
-- takes: p_everywhere: those of any table, for a transaction of our own; otherwise those of the tables that routing writes
--   and those that refer to them
-- returns: their names for "set constraints", empty if there are none, as nearly everywhere
create or replace function router.deferred_constraints(p_everywhere boolean)
returns text
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $function$
declare
    v_constraints oid[];
begin
    if p_everywhere then
        v_constraints := array(select c.oid from pg_constraint c where c.condeferred);
    else
        v_constraints := array(
            select distinct t.tgconstraint
            from pg_trigger t
            where t.tginitdeferred
              and t.tgrelid in ('public.webhook_events'::regclass, 'public.contacts'::regclass,
                                'public.contact_channels'::regclass, 'public.conversations'::regclass,
                                'public.messages'::regclass, 'public.message_analysis'::regclass)
        );
    end if;
    if v_constraints = '{}' then
        return '';
    end if;
    return coalesce((
        select string_agg(distinct format('%I.%I', n.nspname, c.conname), ', ')
        from pg_constraint c
        join pg_namespace n on n.oid = c.connamespace
        where c.oid = any (v_constraints) and has_schema_privilege(n.oid, 'usage') and not starts_with(n.nspname, 'pg_')
          and not exists (  -- a name stands for all constraints of that name in the schema
              select from pg_constraint o
              where o.conname = c.conname and o.connamespace = c.connamespace and not o.condeferred
          )
    ), '');
end
$function$;
