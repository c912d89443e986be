-- router.token_of: what all ids of one message of WhatsApp have in common: they encode the other party as well.
-- returns: the token, 16 to 64 hexadecimal digits in capitals at the end of what the id encodes; null for other ids
create or replace function router.token_of(p_message_id text)
returns text
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $function$
declare
    v_encoded text;
    v_found   text;
begin
    if not starts_with(p_message_id, 'wamid.') then
        return null;
    end if;
    v_encoded := rtrim(substr(p_message_id, 7), '=');
    if v_encoded !~ '^[A-Za-z0-9+/]*$' or length(v_encoded) % 4 = 1 then
        return null;
    end if;
    -- In hexadecimal digits, since bytes need not be text in this database: 3x are digits, 41 to 46 are A to F.
    v_found := substring(encode(decode(v_encoded || repeat('=', -length(v_encoded) & 3), 'base64'), 'hex')
                         from '((?:3[0-9]|4[1-6]){16,64})(?:00)?$');
    return convert_from(decode(v_found, 'hex'), 'SQL_ASCII');
end
$function$;
