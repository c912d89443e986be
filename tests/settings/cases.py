"""The settings under which everything must work: a new one is a line here."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Settings that are tried together, since none of them can hide what another one breaks."""

    name: str
    database: Mapping[str, str] = field(default_factory=dict)
    """`alter database … set`; values are SQL."""
    role: Mapping[str, str] = field(default_factory=dict)
    """`alter role … in database … set`, for the owner of the tables."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Of every process."""
    create: str = ""
    """Options of `create database`, which is then a copy of template0."""
    before: str = ""
    """SQL of the superuser in the new database."""
    since: int = 0
    """The first major version that has these settings."""
    rings: bool = True
    """Whether inserting fires the doorbell."""
    text: str = "Ça va ? €"
    """What a customer writes."""
    accents: bool = True
    """Whether French keeps its accents."""


CASES = (
    # How values are written.
    Case(
        name="datestyle german",
        database={
            "datestyle": "'German, DMY'",
            "intervalstyle": "'sql_standard'",
            "array_nulls": "off",
            "transform_null_equals": "on",
            "lo_compat_privileges": "on",
            "client_encoding": "'LATIN1'",
        },
    ),
    Case(
        name="datestyle sql",
        database={
            "datestyle": "'SQL, DMY'",
            "timezone": "'Asia/Kolkata'",
            "standard_conforming_strings": "off",
            "backslash_quote": "off",
            "escape_string_warning": "on",
        },
    ),
    Case(
        name="datestyle postgres",
        role={
            "datestyle": "'Postgres, MDY'",
            "intervalstyle": "'postgres_verbose'",
            "timezone": "'<-0330>3:30'",
            "timezone_abbreviations": "'India'",
            "bytea_output": "'escape'",
            "extra_float_digits": "-15",
            "xmloption": "'document'",
        },
        database={
            "client_min_messages": "'error'",
            "default_toast_compression": "'pglz'",
            "default_tablespace": "'pg_default'",
            "temp_tablespaces": "''",
            "default_table_access_method": "'heap'",
            "application_name": "'theirs'",
        },
    ),
    # How names are read and written.
    Case(name="quoted names", role={"quote_all_identifiers": "on"}),
    Case(
        name="names of others",
        before="""
            create schema trap;
            grant usage on schema trap to public;
            create domain trap.text as pg_catalog.text check (false);
            create domain trap.uuid as pg_catalog.uuid check (false);
            create function trap.now() returns timestamptz language plpgsql as $$ begin raise 'trapped'; end $$;
            create function trap.channel_of(pg_catalog.text) returns pg_catalog.text language plpgsql
                as $$ begin raise 'trapped'; end $$;
            create function trap.make_interval(secs double precision) returns interval language plpgsql
                as $$ begin raise 'trapped'; end $$;
            create function trap.isfinite(timestamptz) returns boolean language plpgsql
                as $$ begin raise 'trapped'; end $$;
            create function trap.pg_notification_queue_usage() returns double precision language plpgsql
                as $$ begin raise 'trapped'; end $$;
            create table trap.webhook_events (id integer);
            create table trap.pg_class (oid integer);
        """,
        database={"search_path": "trap, pg_catalog, public"},
    ),
    Case(
        name="no names",
        database={"search_path": "''", "client_min_messages": "'debug5'", "log_statement": "'all'"},
        role={"check_function_bodies": "off"},
    ),
    # How transactions behave.
    Case(
        name="serializable",
        role={"default_transaction_isolation": "'serializable'", "default_transaction_deferrable": "on"},
    ),
    Case(
        name="repeatable read",
        role={"default_transaction_isolation": "'repeatable read'", "synchronous_commit": "off"},
        database={"commit_delay": "1000", "commit_siblings": "0"},
    ),
    Case(
        name="timeouts",
        database={
            "statement_timeout": "'20s'",
            "lock_timeout": "'10s'",
            "idle_in_transaction_session_timeout": "'5s'",
            "deadlock_timeout": "'10ms'",
        },
    ),
    Case(
        name="timeouts since 17",
        since=17,
        database={"transaction_timeout": "'20s'", "debug_parallel_query": "on"},
    ),
    Case(name="replica", database={"session_replication_role": "'replica'"}, rings=False),
    # How statements are planned.
    Case(
        name="planner",
        database={
            "join_collapse_limit": "1",
            "from_collapse_limit": "1",
            "plan_cache_mode": "'force_custom_plan'",
            "enable_indexscan": "off",
            "enable_indexonlyscan": "off",
            "enable_nestloop": "off",
            "enable_material": "off",
            "work_mem": "'64kB'",
            "default_statistics_target": "1",
            "jit": "on",
            "jit_above_cost": "1000",
        },
    ),
    Case(
        name="parallel",
        database={
            "max_parallel_workers_per_gather": "2",
            "parallel_setup_cost": "0",
            "parallel_tuple_cost": "0",
            "min_parallel_table_scan_size": "0",
            "row_security": "off",
            "geqo_threshold": "2",
        },
    ),
    # What text is.
    Case(
        name="environment",
        environment={
            "PGCLIENTENCODING": "LATIN1",
            "PGDATESTYLE": "SQL, DMY",
            "PGTZ": "America/St_Johns",
            "PGAPPNAME": "theirs",
            "PGOPTIONS": "-c intervalstyle=iso_8601 -c standard_conforming_strings=off -c geqo=off",
            "LC_ALL": "C",
            "LANG": "tr_TR.UTF-8",
            "TZ": "Asia/Kathmandu",
        },
    ),
    Case(name="latin1", create="encoding 'LATIN1' lc_collate 'C' lc_ctype 'C'", text="Ça va ?"),
    Case(name="latin9", create="encoding 'LATIN9' lc_collate 'C' lc_ctype 'C'"),
    Case(name="win1251", create="encoding 'WIN1251' lc_collate 'C' lc_ctype 'C'", text="Как дела?", accents=False),
    Case(name="euc_jp", create="encoding 'EUC_JP' lc_collate 'C' lc_ctype 'C'", text="元気ですか?"),
    Case(name="sql_ascii", create="encoding 'SQL_ASCII' lc_collate 'C' lc_ctype 'C'"),
    Case(
        name="turkish",
        create="encoding 'UTF8' locale_provider icu icu_locale 'tr-TR' lc_collate 'C.utf8' lc_ctype 'C.utf8'",
    ),
)
