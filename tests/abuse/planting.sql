-- What somebody who may create in "public" can put there for others to call by mistake: see test_planted.py. planted.functions
-- lists the names of functions; each plant counts its calls where no rollback undoes it, and says which one it is.

set search_path = pg_catalog;  -- or the plants would be called while others are made
create schema planted;
grant usage on schema planted to public;
create sequence planted.calls;
create sequence planted.last;
grant all on all sequences in schema planted to public;
create table planted.plants (number bigint generated always as identity, what text);
grant select on planted.plants to public;

create function planted.types() returns setof regtype language sql as $$
    select to_regtype(t.name)
    from unnest(array[
        'text', 'varchar', 'bpchar', 'name', '"char"', 'uuid', 'int2', 'int4', 'int8', 'numeric', 'float4', 'float8', 'bool',
        'timestamptz', 'timestamp', 'date', 'interval', 'jsonb', 'json', 'bytea', 'oid', 'regclass', 'regproc', 'regtype',
        'regnamespace', 'regrole', 'xid', 'text[]', 'uuid[]', 'int4[]', 'int8[]', 'int2[]', 'float4[]', 'oid[]', 'name[]',
        'router.event', 'router.event[]', 'router.target', 'router.target[]', 'router.incoming', 'router.incoming[]',
        'router.fault', 'public.webhook_events', 'record', 'anyelement', 'anyarray', 'anycompatible'
    ]) as t (name)
    where to_regtype(t.name) is not null
$$;

-- Those that are combined with each other.
create function planted.common_types() returns setof regtype language sql as $$
    select t.name::regtype
    from unnest(array['text', 'varchar', 'name', '"char"', 'uuid', 'int2', 'int4', 'int8', 'numeric', 'float8', 'bool',
                      'timestamptz', 'interval', 'jsonb', 'bytea', 'oid', 'regclass', 'xid', 'text[]', 'uuid[]']) as t (name)
$$;

-- The body of a plant that returns so.
create function planted.body(p_what text, p_result text) returns text language plpgsql as $$
declare
    v_number bigint;
begin
    insert into planted.plants (what) values (p_what) returning number into v_number;
    return format(
        'begin perform pg_catalog.nextval(%L::pg_catalog.regclass); perform pg_catalog.setval(%L::pg_catalog.regclass, %s); %s end',
        'planted.calls', 'planted.last', v_number,
        case when p_result = 'nothing' then 'return;' else 'return null;' end);
end
$$;

-- Operators: each name of the catalogue for each pair of types, and for each type alone.
do $operators$
declare
    v record;
    v_name text;
    v_function text;
begin
    for v in
        with names as (
            select o.oprname, o.oprkind, mode() within group (order by o.oprresult = 'bool'::regtype) as is_bool
            from pg_operator o
            where o.oprnamespace = 'pg_catalog'::regnamespace
              and (o.oprleft in (select planted.types()) or o.oprleft in (0, 'anyarray'::regtype))
              and o.oprright in (select planted.types())
            group by 1, 2
        ), pairs as (
            select l as left_type, r as right_type
            from planted.common_types() l, planted.common_types() r
            union
            select t, t from planted.types() t
            union
            select 'oid', t from planted.types() t where t::text like 'reg%'
            union
            select t, 'oid' from planted.types() t where t::text like 'reg%'
            union all
            select 0::regtype, t from planted.types() t
        )
        select p.left_type, p.right_type, n.is_bool, array_agg(n.oprname) as names,
               case when n.is_bool then 'bool' when p.left_type = 0 then p.right_type::text else p.left_type::text end as result
        from pairs p
        join names n on (n.oprkind = 'l') = (p.left_type = 0)
        group by 1, 2, 3, 5
    loop
        v_function := format('planted.op_%s', nextval('planted.calls'));
        execute format('create function %s(%s) returns %s language plpgsql as %L', v_function,
                       concat_ws(', ', case when v.left_type <> 0 then v.left_type end, v.right_type), v.result,
                       planted.body(format('one of the operators %s on (%s, %s)', v.names, v.left_type, v.right_type), 'null'));
        foreach v_name in array v.names loop
            execute format('create operator public.%s (%srightarg = %s, function = %s)', v_name,
                           case when v.left_type <> 0 then format('leftarg = %s, ', v.left_type) end, v.right_type, v_function);
        end loop;
    end loop;
end
$operators$;

-- Functions: as the catalogue has them, to come before it, and with arguments that suit better.
do $functions$
declare
    v record;
begin
    for v in
        select p.proname, pg_get_function_arguments(p.oid) as arguments, pg_get_function_result(p.oid) as result,
               p.proretset or p.proallargtypes is not null or p.prorettype = 'void'::regtype as is_nothing
        from pg_proc p
        where p.pronamespace = 'pg_catalog'::regnamespace and p.proname = any (string_to_array(current_setting('planted.functions'), ',')) and p.prokind in ('f', 'w')
          and pg_get_function_result(p.oid) not in ('internal', 'cstring', 'trigger', 'event_trigger', 'language_handler')
          and not exists (select from unnest(p.proargtypes) a where a in ('internal'::regtype, 'cstring'::regtype,
                                                                         '"any"'::regtype))
    loop
        begin
            execute format('create function public.%I(%s) returns %s language plpgsql as %L', v.proname, v.arguments, v.result,
                           planted.body(format('function %s(%s)', v.proname, v.arguments),
                                        case when v.is_nothing then 'nothing' else '' end));
        exception
            when others then  -- a result that PL/pgSQL does not have
                null;
        end;
    end loop;

    for v in
        with names as (
            select p.proname, a.arity, bool_or(p.proretset) as proretset,
                   (array_agg(p.prorettype::regtype order by p.prorettype::regtype::text like 'any%' desc))[1] as result
            from pg_proc p
            cross join generate_series(greatest(p.pronargs - p.pronargdefaults, 1), least(p.pronargs, 4)) as a (arity)
            where p.pronamespace = 'pg_catalog'::regnamespace and p.proname = any (string_to_array(current_setting('planted.functions'), ',')) and p.prokind = 'f'
              and p.prorettype <> all ('{internal,cstring,trigger}'::regtype[])
            group by 1, 2
        ), arguments as (
            select n.*, array_fill(t, array[n.arity]) as types
            from names n, planted.types() t
            union
            select n.*, array[t, u]
            from names n, planted.types() t, planted.types() u
            where n.arity = 2 and t = any ('{text,varchar,name,uuid,int4,int8,float8,timestamptz,jsonb,bytea,oid}'::regtype[])
              and u = any ('{text,varchar,name,uuid,int4,int8,float8,timestamptz,jsonb,bytea,oid}'::regtype[])
        )
        select a.proname, a.proretset, array_to_string(a.types, ', ') as arguments,
               case when a.result::text not like 'any%' then a.result::text
                    when a.types[1]::text like '%[]' and a.result <> 'anyarray'::regtype
                        then left(a.types[1]::text, -2)
                    else a.types[1]::text end as result
        from arguments a
        where not exists (select from pg_proc o
                          where o.proname = a.proname and o.pronamespace = 'public'::regnamespace
                            and o.proargtypes::oid[] = a.types::oid[])
    loop
        begin
            execute format('create function public.%I(%s) returns %s%s language plpgsql as %L', v.proname, v.arguments,
                           case when v.proretset then 'setof ' end, v.result,
                           planted.body(format('function %s(%s)', v.proname, v.arguments),
                                        case when v.proretset or v.result in ('void', 'record') then 'nothing' else '' end));
        exception
            when others then
                null;
        end;
    end loop;
    for v in
        select p.proname, t as type
        from pg_proc p, planted.types() t
        where p.pronamespace = 'pg_catalog'::regnamespace and p.proname = any (string_to_array(current_setting('planted.functions'), ',')) and p.provariadic <> 0
        group by 1, 2
    loop
        begin
            execute format('create function public.%I(variadic %s[]) returns text language plpgsql as %L', v.proname, v.type,
                           planted.body(format('function %s(variadic %s[])', v.proname, v.type), ''));
        exception
            when others then
                null;
        end;
    end loop;
end
$functions$;

-- Aggregates.
do $aggregates$
declare
    v record;
    v_state text;
    v_name text;
begin
    for v in
        select p.proname, t as type, row_number() over () as number
        from pg_proc p, planted.types() t
        where p.pronamespace = 'pg_catalog'::regnamespace and p.proname = any (string_to_array(current_setting('planted.functions'), ',')) and p.prokind = 'a'
        group by 1, 2
    loop
        v_state := case when v.proname = 'count' then 'int8' when v.proname like 'bool%' then 'bool'
                        when v.proname = 'array_agg' then v.type || '[]' else v.type::text end;
        v_name := 'planted.step_' || v.number;
        begin
            execute format('create function %s(%s, %s) returns %s language plpgsql as %L', v_name, v_state, v.type, v_state,
                           planted.body(format('aggregate %s(%s)', v.proname, v.type), ''));
            execute format('create aggregate public.%I(%s) (sfunc = %s, stype = %s)', v.proname, v.type, v_name, v_state);
        exception
            when others then
                null;
        end;
    end loop;
end
$aggregates$;

-- Types that refuse every value, relations named like those of the catalogue, and casts to a type of one's own.
create function planted.fires(anyelement) returns bool language plpgsql as
$$ begin perform pg_catalog.nextval('planted.calls'::pg_catalog.regclass);
   perform pg_catalog.setval('planted.last'::pg_catalog.regclass, 1000000); return true; end $$;
do $names$
declare
    v record;
begin
    for v in
        select t.typname
        from pg_type t
        where t.oid in (select planted.types()) and t.typnamespace = 'pg_catalog'::regnamespace and t.typtype = 'b'
          and t.typelem = 0
    loop
        execute format('create domain public.%I as pg_catalog.%I check (planted.fires(value))', v.typname, v.typname);
    end loop;
    for v in
        select c.relname, string_agg(format('c.%I', a.attname), ', ' order by a.attnum) as columns
        from pg_class c
        join pg_attribute a on a.attrelid = c.oid and a.attnum > 0
        where c.relnamespace = 'pg_catalog'::regnamespace and c.relkind in ('r', 'v')
          and a.atttypid not in ('anyarray'::regtype, '_pg_statistic'::regtype)  -- no column of one's own has these
        group by 1
    loop
        execute format('create view public.%I as select %s from pg_catalog.%I c where planted.fires(1)',
                       v.relname, v.columns, v.relname);
    end loop;
end
$names$;
create type public.lure as enum ('lure');
create function planted.lure(pg_catalog.text) returns public.lure language plpgsql as
$$ begin perform planted.fires(1); return 'lure'; end $$;
create cast (pg_catalog.text as public.lure) with function planted.lure(pg_catalog.text) as implicit;
create function planted.lured(public.lure, public.lure) returns pg_catalog.bool language plpgsql as
$$ begin perform planted.fires(1); return true; end $$;
create operator public.= (leftarg = public.lure, rightarg = public.lure, function = planted.lured);
create operator public.<> (leftarg = public.lure, rightarg = public.lure, function = planted.lured);
grant execute on all functions in schema planted to public;
select pg_catalog.setval('planted.calls', 1, false), pg_catalog.setval('planted.last', 1, false);
reset search_path;
