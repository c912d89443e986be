-- webhook-router: no transaction
-- Widens the checks that list the channels which there may be: nothing that they allow now is refused afterwards. They are found
-- by what they say, since applications name them as they like, and keep their names. Each table is locked for an instant: a check
-- that is added as not valid reads no row, and validating it later holds up nobody. A check that the application does not let be
-- changed stays as it is: router.refused_channels tells whose messages it refuses.

do $checks$
declare
    v_tables constant text[] := array['webhook_events', 'conversations', 'contact_channels', 'messages'];
    v_wanted constant jsonb := '{"webhook_events": ["telegram", "webchat"], "conversations": ["telegram", "other"],
                                 "contact_channels": ["telegram"], "messages": ["telegram"]}';
    v_check  record;
    v_valid  text;
begin
    for v_table in 1..cardinality(v_tables) loop
        perform set_config('lock_timeout', '2s', true);
        v_valid := '';
        begin
            for v_check in
                select k.conname, k.convalidated, k.contypid <> 0 as is_domain, pg_get_constraintdef(k.oid) as definition,
                       obj_description(k.oid, 'pg_constraint') as comment,
                       case when k.contypid <> 0 then format('domain %s', k.contypid::regtype)
                            else format('table %s', k.conrelid::regclass) end as object,
                       left(k.conname, 55) || '_wider' as wider,
                       case when d.words ~ '^[^'']* = ANY [(]+ARRAY[[](''[^'']*''::[a-z ]+(, )?)+[]][])(a-z:[]*$'
                            then replace(d.words, ']' || substring(d.words from '[]]([^'']*)$'),
                                         n.names || ']' || substring(d.words from '[]]([^'']*)$'))
                            else format('(%s or %s in (%s))', d.words, case when k.contypid <> 0 then 'value' else 'channel' end,
                                        substr(n.names, 3)) end as words,
                       case when k.connoinherit then ' no inherit' else '' end as ending
                from pg_attribute a
                join pg_constraint k on k.contype = 'c' and (k.conrelid = a.attrelid and k.conkey = array[a.attnum]
                                                             or k.contypid = a.atttypid)
                cross join lateral (
                    -- With its own parentheses, and without what follows them.
                    select substring(pg_get_constraintdef(k.oid) from '^CHECK (.*[)])') as words
                ) d
                cross join lateral (
                    select string_agg(format(', %L', w.name), '' order by w.place) as names
                    from jsonb_array_elements_text(v_wanted -> v_tables[v_table]) with ordinality as w (name, place)
                    where strpos(d.words, quote_literal(w.name)) = 0
                ) n
                where a.attrelid = to_regclass('public.' || v_tables[v_table]) and a.attname = 'channel' and not a.attisdropped
                  and d.words ~ '''(whatsapp|facebook|instagram|tiktok|youtube|webchat|other)''' and d.words !~ '<>|!~|NOT '
                  and n.names is not null
                  -- Validating a check runs what is in it, with the rights of whoever migrates.
                  and not exists (select from pg_depend e
                                  where e.classid = 'pg_constraint'::regclass and e.objid = k.oid and e.deptype = 'n'
                                    and e.refclassid in ('pg_proc'::regclass, 'pg_operator'::regclass, 'pg_type'::regclass)
                                    and e.refobjid >= 16384
                                    and exists (select from pg_roles m where m.rolname = current_user and m.rolsuper))
            loop
                execute format('alter %s add constraint %I check %s%s not valid', v_check.object, v_check.wider, v_check.words,
                               v_check.ending);
                execute format('alter %s drop constraint %I', v_check.object, v_check.conname);
                execute format('alter %s rename constraint %I to %I', v_check.object, v_check.wider, v_check.conname);
                if v_check.comment is not null then
                    execute format('comment on constraint %I on %s is %L', v_check.conname,
                                   case when v_check.is_domain then v_check.object else substr(v_check.object, 7) end,
                                   v_check.comment);
                end if;
                -- So that uninstalling can put it back.
                insert into router.found (kind, name)
                select 'check', format('%s %I %s', v_tables[v_table], v_check.conname, v_check.definition)
                where not v_check.is_domain
                  and exists (select from router.found f
                              where f.kind = 'table' and f.name = 'public.' || v_tables[v_table])
                  and not exists (select from router.found f
                                  where f.kind = 'check'
                                    and starts_with(f.name, format('%s %I ', v_tables[v_table], v_check.conname)));
                -- Validating that of a domain would hold up those who write to tables that have it.
                if v_check.convalidated and not v_check.is_domain then
                    v_valid := v_valid || format('alter %s validate constraint %I;', v_check.object, v_check.conname);
                end if;
            end loop;
        exception
            when lock_not_available or transaction_rollback or operator_intervention or insufficient_resources then
                raise;
            when others then
                raise warning 'the check of public.%.channel is not widened: %', v_tables[v_table], sqlerrm;
                v_valid := '';
        end;
        commit;
        perform set_config('lock_timeout', '2s', true);
        begin
            execute v_valid;
        exception
            when check_violation then
                null;  -- rows from before there was a check
        end;
        commit;
    end loop;
end
$checks$;
