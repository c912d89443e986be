-- router.route_oldest: routes up to p_limit events that come after (p_after_at, p_after_id), oldest event_date first, nulls
-- last; then, while there is room, parked events whose next attempt is due. Where the session has a statement timeout, it goes
-- forward in small steps and ends when about half of it is used: what it has done commits.
-- takes: p_channel null for every channel; p_limit, clamped to 1...10,000; bounds as router.claim_by_event_date; p_shared: the
--   transaction is the caller's and not ours
-- returns: as router.route_batch; reached: the last ready event that was claimed, or ('infinity', the last uuid) if none is
--   left after it
-- raises: with p_shared, object_not_in_prerequisite_state if all events claimed are held for faults of the schema; see also
--   router.refuse_hidden_rows
create or replace function router.route_oldest(
    p_channel  text,
    p_limit    integer,
    p_after_at timestamptz default '-infinity',
    p_after_id uuid        default '00000000-0000-0000-0000-000000000000',
    p_shared   boolean     default false
) returns router.batch
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
as $function$
declare
    v_channel     constant text := router.channel_of(p_channel);
    v_path        constant text := case when p_shared then 'call' else 'sweep' end;  -- by which they are routed
    v_limit       constant integer := least(greatest(coalesce(p_limit, 100), 1), 10000);
    v_until       constant timestamptz := router.half_time();
    v_constraints text;
    v_size        integer := case when v_until is null then v_limit else 1 end;
    v_batch       router.batch;
    v_part        router.batch;
    v_events      router.event[];
    v_ready       integer;
    v_next_at     timestamptz;
    v_next_id     uuid;
    v_began       timestamptz;
    v_left        double precision;
begin
    if p_shared then
        v_constraints := router.deferred_constraints(false);
        if v_constraints <> '' then
            begin
                perform router.check_deferred(v_constraints);
            exception
                when transaction_rollback or insufficient_resources or operator_intervention or system_error
                     or lock_not_available or invalid_transaction_state then
                    raise;
                when others or assert_failure then
                    v_constraints := '';  -- violated by what the caller has done so far: its own affair until it commits
            end;
        end if;
    elsif v_until is not null then
        v_constraints := router.deferred_constraints(true);
    end if;
    loop
        v_began := clock_timestamp();
        v_events := router.claim_by_event_date(v_channel, v_size, p_after_at, p_after_id, v_path);
        v_ready := coalesce(cardinality(v_events), 0);
        -- Where the next step begins. It is asked now: triggers of the application may change or delete what is routed.
        v_next_at := 'infinity';
        v_next_id := 'ffffffff-ffff-ffff-ffff-ffffffffffff';
        if v_ready = v_size then
            select coalesce(w.event_date, 'infinity'), w.id into v_next_at, v_next_id
            from public.webhook_events w
            where w.id = (v_events[v_ready]).id;
        end if;
        if v_ready < v_size then
            v_events := v_events || router.claim_due(v_channel, v_size - v_ready, v_path);
        end if;
        if v_batch.claimed is null then
            for v_attempt in 1..3 loop
                begin
                    v_part := router.route_claimed(v_events, v_size, v_constraints);
                    exit;
                exception
                    -- With a further step of another call, which was about to give way. All is undone but the claim.
                    when deadlock_detected then
                        if v_attempt = 3 then
                            raise;
                        end if;
                        -- The other one has been woken, but may not run yet: whoever took the same locks again before it does
                        -- would be in the same deadlock.
                        perform pg_sleep(0.1 * v_attempt);
                end;
            end loop;
            v_batch := v_part;
        else
            v_part := router.route_further(v_events, v_size, v_constraints);
            exit when v_part.claimed is null;
            v_batch.claimed := v_batch.claimed + v_part.claimed;
            v_batch.inserted := v_batch.inserted + v_part.inserted;
            v_batch.parked := v_batch.parked + v_part.parked;
            v_batch.dead := v_batch.dead + v_part.dead;
            v_batch.channels := v_batch.channels || v_part.channels;
            v_batch.ages := v_batch.ages || v_part.ages;
            v_batch.seconds := v_part.seconds;
            v_batch.held := v_batch.held + v_part.held;
            v_batch.held_reason := case when v_batch.faults = 0 and v_part.faults > 0 then v_part.held_reason
                                        else coalesce(v_batch.held_reason, v_part.held_reason) end;
            v_batch.faults := v_batch.faults + v_part.faults;
        end if;
        p_after_at := v_next_at;
        p_after_id := v_next_id;
        exit when v_part.claimed < v_size or v_batch.claimed >= v_limit;
        -- Four times as many, as far as the last step tells what they cost, with room for errors that have a batch split.
        v_left := extract(epoch from v_until - clock_timestamp()) / 2;
        v_size := floor(least(v_size * 4, v_limit - v_batch.claimed,
                              v_left / greatest(extract(epoch from clock_timestamp() - v_began) / v_size, 0.001)));
        exit when v_size < 1;
    end loop;
    v_batch.reached_at := p_after_at;
    v_batch.reached_id := p_after_id;
    if p_shared and v_batch.held > 0 and v_batch.held = v_batch.claimed and v_batch.faults > 0 then
        raise exception 'no event can be routed: %', v_batch.held_reason
            using errcode = 'object_not_in_prerequisite_state',
                  hint = 'Nothing was parked. Is a trigger of the application on these tables broken, or without rights?';
    end if;
    return v_batch;
end
$function$;
