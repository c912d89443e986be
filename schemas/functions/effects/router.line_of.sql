-- router.line_of: the line that router.effect_of has read, for router.waiting.
-- takes: an effect
-- returns: an object without what other columns of router.waiting say
create or replace function router.line_of(p_effect router.effect)
returns jsonb
language sql
stable
as $function$
    select pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
               'kind', p_effect.kind, 'id', p_effect.atom_id, 'channel', p_effect.channel, 'target', p_effect.target,
               'token', p_effect.token, 'account', p_effect.account, 'person', p_effect.person, 'canonical', p_effect.canonical,
               'forms', p_effect.forms, 'at', p_effect.at, 'ord', p_effect.ord, 'subject', p_effect.subject))
           -- With the nulls that it has.
           operator(pg_catalog.||) pg_catalog.jsonb_build_object('content', p_effect.content)
$function$;
