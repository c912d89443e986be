-- How far routed events have lost their payloads, see router.prune: a place in the order of their routing, so that no call looks
-- at those again which have none any more. Null: none has.
do $migration$
begin
    if not exists (select from pg_attribute a
                   where a.attrelid = 'router.installation'::regclass and a.attname = 'payloads_pruned' and not a.attisdropped)
    then
        alter table router.installation add column payloads_pruned jsonb;
    end if;
end
$migration$;
