-- router.refuse_hidden_rows: raises an error if row level security keeps rows of webhook_events from the functions, which run
-- as the owner of the tables: "force row level security" does, unless a policy lets the owner through or it may bypass them.
-- Events would wait for ever, and all would look well. Called when nothing was found.
-- raises: see router.refuse_hidden
create or replace function router.refuse_hidden_rows()
returns void
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $function$
begin
    if row_security_active('public.webhook_events'::regclass) then
        perform router.refuse_hidden('{webhook_events}', '{r,w}');
    end if;
end
$function$;
