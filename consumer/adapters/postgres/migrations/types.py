"""Makes the composite types of the private schema what their files say: SQL for the transaction of the functions.

Postgres cannot replace a type. A file of `schemas/types/` is applied under another name first, and the catalogue shows
whether both types are the same; no statement is parsed. Only if they differ is the old one dropped, together with our
functions that have it in their signature, which the same transaction makes again.
"""

from collections.abc import Sequence
from typing import Final

from psycopg import sql

from consumer.adapters.postgres.migrations.sql_files import SHIPPED, SqlFile

_KEEP_OR_REPLACE: Final = sql.SQL("""
do $type$
declare
    v_new       constant regtype := {new};
    v_old       constant regtype := to_regtype({old});
    v_functions regprocedure[];
    v_function  regprocedure;
    v_users     text;
begin
    if v_old is not null then
        if (select array_agg((a.attname, a.atttypid, a.atttypmod, a.attcollation) order by a.attnum)
            from pg_attribute a
            where a.attrelid = (select t.typrelid from pg_type t where t.oid = v_old) and not a.attisdropped)
           is not distinct from
           (select array_agg((a.attname, a.atttypid, a.atttypmod, a.attcollation) order by a.attnum)
            from pg_attribute a
            where a.attrelid = (select t.typrelid from pg_type t where t.oid = v_new)) then
            drop type {new_name};
            return;
        end if;
        select array_agg(distinct d.objid::regprocedure) into v_functions
        from pg_depend d
        join pg_proc p on p.oid = d.objid
        -- Ours, and no others. An earlier run may have listed them with quotes, by quote_all_identifiers.
        join router.schema_functions s on replace(s.signature, '"', '') = p.oid::regprocedure::text
        where d.classid = 'pg_proc'::regclass and p.pronamespace = 'router'::regnamespace
          and d.refclassid = 'pg_type'::regclass
          and d.refobjid in (v_old, (select t.typarray from pg_type t where t.oid = v_old));
        if v_functions is not null then
            -- A call that is half way through would meet the end of the type: wait for those under way, each of which
            -- holds a lock on this table from its claim on, and hold up others until this transaction has ended.
            lock table public.webhook_events in exclusive mode;
            foreach v_function in array v_functions loop
                execute format('drop routine %s', v_function);
            end loop;
        end if;
        select string_agg(distinct pg_describe_object(d.classid, d.objid, d.objsubid), ', ') into v_users
        from pg_depend d
        where d.deptype = 'n' and d.refclassid = 'pg_type'::regclass
          and d.refobjid in (v_old, (select t.typarray from pg_type t where t.oid = v_old));
        if v_users is not null then
            raise exception 'type % changes in this version, and is used by: %', v_old, v_users
                using errcode = 'dependent_objects_still_exist',
                      hint = 'Types of the schema router are private. Drop what uses it, and migrate again.';
        end if;
        drop type {old_name};
    end if;
    alter type {new_name} rename to {name};
end
$type$;
""")
# Runs after the list of functions was written anew.
_NOTE: Final = sql.SQL("""
do $types$
declare
    v_left record;
    v_type regtype;
begin
    for v_left in
        select s.file, s.signature from router.schema_functions s
        where starts_with(s.signature, 'type ') and s.file <> all ({files})
    loop
        -- Of an earlier version. What the list says is not run: somebody may have written there what it is to be.
        v_type := to_regtype(substr(v_left.signature, 6));
        if exists (select from pg_type t where t.oid = v_type and t.typnamespace = 'router'::regnamespace) then
            execute format('drop type %s', v_type);
        end if;
        delete from router.schema_functions where file = v_left.file;
    end loop;
end
$types$;
insert into router.schema_functions (file, signature, fingerprint)
select f.file, f.signature, f.fingerprint
from (
{fingerprints}
) f
where starts_with(f.signature, 'type ') and f.file = any ({files})
on conflict (file) do update set signature = excluded.signature, fingerprint = excluded.fingerprint;
""")


def in_force(file: SqlFile) -> SqlFile:
    """SQL that makes the type what this file says; it changes nothing if the type is the same already.

    Raises:
        ValueError: the file does not create the type that it is named after.
    """
    schema, name, _ = file.name.split(".")
    new = f"{name}_new"
    head, aside = f"create type {schema}.{name} as (", f"create type {schema}.{new} as ("
    if file.text.count(head) != 1:
        msg = f"{file.name} does not create the type that it is named after"
        raise ValueError(msg)
    step = _KEEP_OR_REPLACE.format(
        old=sql.Literal(f"{schema}.{name}"),
        new=sql.Literal(f"{schema}.{new}"),
        old_name=sql.Identifier(schema, name),
        new_name=sql.Identifier(schema, new),
        name=sql.Identifier(name),
    )
    return SqlFile(name=file.name, text=file.text.replace(head, aside) + step.as_string())


def noted(files: Sequence[SqlFile]) -> SqlFile:
    """SQL that records what these types are in the catalogue, and drops those of earlier versions."""
    names = sql.SQL("array[{}]::text[]").format(sql.SQL(", ").join(sql.Literal(file.name) for file in files))
    note = _NOTE.format(files=names, fingerprints=sql.SQL(SHIPPED.fingerprints().text))
    return SqlFile(name="types", text=note.as_string())
