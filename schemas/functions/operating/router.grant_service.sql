-- router.grant_service: gives webhook_router_service the right to call what the service and its commands call, and nothing
-- else. The only list of these functions: migrations take it from this file, and deploy/sql/roles.sql from the catalogue,
-- since a superuser calls no function that others could have changed.
-- takes: the role must exist
create or replace function router.grant_service()
returns void
language plpgsql
volatile
security definer  -- it needs the owner's rights only, and its caller may be a superuser
set search_path = pg_catalog, pg_temp
as $function$
declare
    v_function regprocedure;
begin
    grant usage on schema router to webhook_router_service;
    foreach v_function in array array[
        'router.route_batch(integer,timestamptz,uuid,timestamptz,text,integer,integer,text)',
        'router.route_due(text,integer)',
        'router.route_oldest(text,integer,timestamptz,uuid,boolean)',
        'router.next_event(boolean,timestamptz,uuid,timestamptz,integer,integer)',
        'router.route_one(uuid,boolean,text)',
        'router.ingest_and_route(text,text[],text[],boolean[],boolean)',
        'router.take_records(text,text[],text[],boolean[],boolean,text,text[],integer[],bigint[],bigint[])',
        'router.note_positions(text,text[],integer[],bigint[],bigint[])',
        'router.noted_positions(text,text[],integer[])',
        'router.skip_record(text,text,integer,bigint)',
        'router.correct_events(text)',
        'router.intake_backlog(integer)',
        'router.deliveries_of(bigint,text,text,text)',
        'router.backlog()',
        'router.recent_backlog(double precision)',
        'router.backlog_by_channel(double precision,integer)',
        'router.ingest_lines(text)',
        'router.sweep_waiting(integer,jsonb,text)',
        'router.take_deliveries(jsonb,bytea[],text,text,boolean,text)',
        'router.claim_deliveries(integer,bigint)',
        'router.keep_deliveries(interval)',
        'router.refused_channels()',
        'router.deliveries_kinds(text,timestamptz)',
        'router.deliveries_list(text,text,text,timestamptz,timestamptz,bigint,integer)',
        'router.deliveries_troubled(timestamptz,integer)',
        'router.deliveries_example(text,text[],timestamptz,integer,integer)',
        'router.parked(uuid[],text,text,interval,interval,text,integer,text[],text,timestamptz,uuid)',
        'router.parked_groups(text,text,interval,interval,text,text,integer)',
        'router.retry_parked(uuid[],text,text,interval,interval,text,integer,text)',
        'router.discard_parked(uuid[],text,text,interval,interval,text,integer,text)',
        'router.explain(text,text)',
        'router.find_events(text,text[],integer)',
        'router.effects_told(uuid)',
        'router.prune(text,interval,integer,jsonb,boolean)',
        'router.status()',
        'router.routed_within(double precision,integer)',
        'router.doorbell()'
    ]::regprocedure[] loop
        execute format('grant execute on function %s to webhook_router_service', v_function);
    end loop;
end
$function$;
