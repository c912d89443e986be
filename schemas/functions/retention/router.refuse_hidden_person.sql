-- router.refuse_hidden_person: raises an error if row level security hides rows from the functions in which something of a person
-- may be: that nothing is known of somebody would be said of everybody.
-- takes: see router.refuse_hidden
-- raises: see router.refuse_hidden
create or replace function router.refuse_hidden_person(p_commands text[])
returns void
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $function$
begin
    perform router.refuse_hidden(
        '{contacts,contact_channels,conversations,messages,message_analysis,message_delivery,message_reactions,'
        'message_revisions,webhook_events}', p_commands);
end
$function$;
