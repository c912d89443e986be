-- router.take_deliveries: takes what providers POSTed, in one transaction: the deliveries are stored, and what they were taken
-- apart into takes effect, whatever of it is new. Once it has committed, nothing of them can be lost: what could not take effect
-- now is tried again by whoever calls router.claim_deliveries. It can be called again with the same deliveries.
-- takes:
--   p_deliveries   an array of objects: provider, account (that the route told), received_at (null: now), compressed (whether the
--                  body is, by zlib), digest (SHA-256 of the body as it came, in hexadecimal digits), version (of the
--                  normalisers), kinds ({kind: number of atoms}), unknown (whether it holds what was not understood), subjects
--                  (hashes of the messages whose text it may hold; null: none); id of one that is stored already, which is
--                  processed again then; partial, of such a one: the lines are a part of what it says, so that its row stays as
--                  it is; error: why it could not be taken apart, in words that quote nothing of it
--   p_bodies       by their places; null where there is an id
--   p_lines        of messages, separated by line feeds: JSON objects with the number of the delivery (from 0), the columns of
--                  webhook_events, and normalized; null for none
--   p_effects      of effects, likewise, with the fields of router.effect, and id, the atom's; null for none
--   p_store_only   store the deliveries, and leave their processing to router.claim_deliveries
--   p_path         by which path the messages are routed, see router.mark_routed; null: 'intake' if a delivery has an id, or
--                  else 'gateway'
-- returns: batch: as router.route_claimed, for the messages that were not routed yet; effects: {kind: {what became of them:
--   number}}; refused: the places (from 1) of deliveries of which a line was refused, one entry a line, or all of it was, with
--   SQLSTATE and message in codes and reasons: these are tried again later
-- raises: what will pass (deadlock, lock timeout, full disk, shutdown, read-only): nothing is stored then
-- writes: router.deliveries, see also router.take_atoms. The body of a delivery that holds the text of a deleted message is
--   not stored
-- locks: deliveries that are stored already, by id; see also router.take_atoms
create or replace function router.take_deliveries(
    p_deliveries jsonb, p_bodies bytea[], p_lines text, p_effects text, p_store_only boolean default false,
    p_path text default null,
    out batch router.batch, out effects jsonb, out refused integer[], out codes text[], out reasons text[]
)
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $function$
declare
    v_received timestamptz[];  -- by number; null: now
    v_ids      bigint[];       -- of those that are stored already
    v_lines    record;
    v_effects  record;
    v_taken    record;
begin
    -- What is stored here is routed here: nobody is to be woken for it, see router.ring_doorbell.
    perform set_config('webhook_router.doorbell', 'off', true);
    refused := '{}';
    codes := '{}';
    reasons := '{}';
    effects := '{}';
    select array_agg((d.value ->> 'received_at')::timestamptz order by d.place),
           array_agg((d.value ->> 'id')::bigint) filter (where d.value ->> 'id' is not null)
    into v_received, v_ids
    from jsonb_array_elements(p_deliveries) with ordinality as d (value, place);
    if v_ids is not null then
        -- Two who process the same delivery do so one after the other.
        perform d.id
        from (select s.id from unnest(v_ids) as s (id) order by s.id offset 0) s
        cross join lateral (
            select d.id from router.deliveries d where d.id = any (array[s.id]) for no key update
        ) d;
    end if;
    if p_store_only then
        batch := router.route_claimed(null, 1);
    else
        v_lines := router.parsed_lines(p_lines);
        v_effects := router.parsed_lines(p_effects);
        v_taken := router.take_in_turns(
            v_lines.lines, v_effects.lines, v_received,
            coalesce(p_path, case when v_ids is null then 'gateway' else 'intake' end));
        batch := v_taken.batch;
        effects := v_taken.effects;
        refused := v_taken.refused || v_lines.refused || v_effects.refused;
        codes := v_taken.codes || v_lines.codes || v_effects.codes;
        reasons := v_taken.reasons || v_lines.reasons || v_effects.reasons;
    end if;
    perform router.store_deliveries(p_deliveries, p_bodies, p_store_only, refused, codes, reasons, v_ids is not null);
    if refused <> '{}' then
        refused := array(select r.delivery + 1 from unnest(refused) with ordinality as r (delivery, number) order by r.number);
    end if;
end
$function$;
