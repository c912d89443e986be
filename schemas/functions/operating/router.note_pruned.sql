-- router.note_pruned: notes how far routed events have lost their payloads; what comes before is not looked at again. An event
-- that has a time of routing from before by then, since somebody has set it, keeps its payload for as long as it is kept itself.
-- takes: reached, of router.take_due; null: nothing to note
-- writes: router.installation
create or replace function router.note_pruned(p_reached jsonb)
returns void
language sql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $function$
    update router.installation i
    set payloads_pruned = p_reached
    where p_reached is not null and i.payloads_pruned is distinct from p_reached
$function$;
