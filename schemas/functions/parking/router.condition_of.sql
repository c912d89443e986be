-- router.condition_of: the name of an SQLSTATE, as the manual of Postgres has it: what kind of error it is, in one word.
-- returns: that of its class for one that is rare; 'error' for one of the application's own
create or replace function router.condition_of(p_code text)
returns text
language sql
immutable
set search_path = pg_catalog, pg_temp
as $function$
    select coalesce((
        select c.name
        from (values
            ('20000', 'case_not_found'), ('21000', 'cardinality_violation'),
            ('22000', 'data_exception'), ('22001', 'string_data_right_truncation'), ('22003', 'numeric_value_out_of_range'),
            ('22004', 'null_value_not_allowed'), ('22007', 'invalid_datetime_format'), ('22008', 'datetime_field_overflow'),
            ('22012', 'division_by_zero'), ('22021', 'character_not_in_repertoire'), ('22023', 'invalid_parameter_value'),
            ('2201B', 'invalid_regular_expression'), ('2202E', 'array_subscript_error'), ('22P02', 'invalid_text_representation'),
            ('22P03', 'invalid_binary_representation'), ('22P05', 'untranslatable_character'),
            ('23000', 'integrity_constraint_violation'), ('23001', 'restrict_violation'), ('23502', 'not_null_violation'),
            ('23503', 'foreign_key_violation'), ('23505', 'unique_violation'), ('23514', 'check_violation'),
            ('23P01', 'exclusion_violation'), ('2F000', 'sql_routine_exception'),
            ('2F005', 'function_executed_no_return_statement'), ('38000', 'external_routine_exception'),
            ('39000', 'external_routine_invocation_exception'), ('44000', 'with_check_option_violation'),
            ('54000', 'program_limit_exceeded'), ('54001', 'statement_too_complex'), ('57014', 'query_canceled'),
            ('P0000', 'plpgsql_error'), ('P0001', 'raise_exception'), ('P0002', 'no_data_found'), ('P0003', 'too_many_rows'),
            ('P0004', 'assert_failure')
        ) as c (code, name)
        where c.code in (p_code, left(p_code, 2) || '000')
        order by c.code = p_code desc
        limit 1
    ), 'error')
$function$;
