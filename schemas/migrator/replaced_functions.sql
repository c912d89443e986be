-- Functions of the application that the next run will replace: see keep_functions.sql. It only reads the catalogue.
-- returns: signature, in the order of names

select p.oid::regprocedure::text as signature
from (values ('ingest_webhook_event(text, text, text, text, text, text, timestamptz, text, uuid, jsonb)'),
             ('route_webhook_event(text, text)'), ('route_unrouted_events(text, integer)'), ('analyze_message_simple(uuid)'),
             ('ingest_route_analyze(text, text, text, text, text, text, timestamptz, jsonb)'),
             ('ingest_instagram_webhook(jsonb)'), ('ai_reply_template(uuid)'), ('auto_reply_stub(uuid)')
     ) as w (name)
join pg_proc p on p.oid = to_regprocedure('public.' || w.name)
where p.prokind = 'f' and p.prosrc not like '%select router.%'
order by 1
