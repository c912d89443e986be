-- router.words_of: the message of an error without anything of an event, for the log, operators and router.parked_events.
-- takes: an error that was caught
-- returns: the message. What it quotes is replaced by "..." unless it is a name: of an object that the error is about, or one
--   that stands in the code of the functions in which it happened. Null for a message that the application's code writes
--   itself, that the parser writes about a statement which code has put together, or in another language, where nobody knows
--   what is quoted
-- reads: pg_proc
create or replace function router.words_of(p_error router.fault)
returns text
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $function$
declare
    v_first constant text := split_part(p_error.context, chr(10), 1);
    -- The server translates contexts, except for these words.
    v_place constant integer := position('PL/pgSQL' in v_first);
    -- Near the beginning of the line: further on it may be the text of a statement.
    v_ours  constant boolean := v_place between 1 and 12
                                and starts_with(substring(v_first collate "C" from '[A-Za-z0-9_."$]+[(]'), 'router.');
    v_words text := p_error.message;
    v_code  text;
begin
    if p_error.message = ''
       or ((position('RAISE' in v_first) > 0 or position('ASSERT' in v_first) > 0) and not v_ours)
       or (position('PL/' in v_first) > 0 and v_place = 0)
       or (p_error.code = '42601' and position(' EXECUTE' in p_error.context) > 0) then
        return null;
    end if;
    if left(p_error.code, 2) = '23' or (v_ours and position('RAISE' in v_first) > 0) then
        return left(v_words, 500);  -- names alone: the values are in the detail
    end if;
    if position('"' in v_words) > 0 then
        select concat_ws(' ', p_error.schema_name, p_error.table_name, p_error.column_name, p_error.constraint_name,
                         string_agg(p.prosrc, ' '))
        into v_code
        from pg_proc p
        where p.proname = any (array(
                  select m.found[1]
                  from regexp_matches(left(p_error.context, 10000) collate "C", '([A-Za-z0-9_$]+)"?[(]', 'g') as m (found)
              ))
          and p.pronamespace <> 'pg_catalog'::regnamespace;
        if left(p_error.code, 2) = '22'
           or exists (select
                      from regexp_matches(v_words collate "C", '"([^"]*)"', 'g') as q (found)
                      where position(q.found[1] in v_code) = 0) then
            -- From the first quote to the last: the value may contain some.
            v_words := regexp_replace(v_words collate "C", '".*"', '"..."');
        end if;
    end if;
    v_words := regexp_replace(v_words collate "C", '0x[0-9a-f]{2}( 0x[0-9a-f]{2})*', '...', 'g');  -- bytes of a text
    return case when v_words collate "C" !~ '[^ -~]' then left(v_words, 500) end;
end
$function$;
