-- History that is dropped by age: transitions in one partition a UTC month, and how far back each kind reaches.

-- Everything of a kind before this instant was dropped, or may be at any moment: whoever reads says so.
CREATE TABLE history_horizon (
    kind      TEXT   NOT NULL PRIMARY KEY CHECK (kind IN ('transitions', 'heartbeats', 'statistics_minutes')),
    before_ms BIGINT NOT NULL
);

-- The table that was there becomes the first partition as it is, up to the end of the month of its newest row: no row
-- is copied, two indexes are built. A unique key of a partitioned table has to hold the column it is partitioned by, so
-- the key is longer by `at_ms`; that (customer, vehicle, seq) is there once is seen to by the one writer, who looks.
ALTER TABLE transition RENAME TO transition_first;
ALTER TABLE transition_first DROP CONSTRAINT transition_pkey;
ALTER TABLE transition_first ADD CONSTRAINT transition_first_pkey PRIMARY KEY (customer, vehicle, seq, at_ms);
DROP INDEX transition_of_vehicle;
ALTER INDEX transition_of_customer RENAME TO transition_first_of_customer;
ALTER INDEX transition_of_fleet RENAME TO transition_first_of_fleet;
ALTER INDEX transition_to_status RENAME TO transition_first_to_status;

CREATE TABLE transition (LIKE transition_first INCLUDING CONSTRAINTS) PARTITION BY RANGE (at_ms);
ALTER TABLE transition ADD PRIMARY KEY (customer, vehicle, seq, at_ms);
-- With what availability reads of a transition, so that a month of a thousand vehicles is read from the index alone:
-- the rows themselves lie in the order in which they were decided, a page each.
CREATE INDEX transition_of_vehicle ON transition (customer, vehicle, at_ms, seq) INCLUDE (to_status, cause);
CREATE INDEX transition_of_customer ON transition (customer, at_ms, vehicle, seq);
CREATE INDEX transition_of_fleet ON transition (at_ms, customer, vehicle, seq);
CREATE INDEX transition_to_status ON transition (to_status, at_ms, customer, vehicle, seq);

-- Where the UTC month of an instant begins.
CREATE FUNCTION month_of(instant BIGINT) RETURNS BIGINT LANGUAGE sql IMMUTABLE AS $$
    SELECT (extract(epoch FROM date_trunc('month', to_timestamp(instant / 1000) AT TIME ZONE 'UTC')) * 1000)::bigint
$$;

DO $$
DECLARE
    newest BIGINT := (SELECT coalesce(max(at_ms), 0) FROM transition_first);
BEGIN
    -- A month has at most 31 days.
    EXECUTE format('ALTER TABLE transition ATTACH PARTITION transition_first FOR VALUES FROM (MINVALUE) TO (%s)',
                   month_of(month_of(newest) + 31 * 86400000::bigint));
END
$$;

-- The partitions of a table of history with their bounds; the lower one of the first is null.
CREATE FUNCTION history_partitions(parent TEXT) RETURNS TABLE (part TEXT, from_ms BIGINT, to_ms BIGINT)
LANGUAGE sql STABLE AS $$
    SELECT relname::text, substring(bound FROM 'FROM \(''?(-?\d+)')::bigint, substring(bound FROM 'TO \(''?(-?\d+)')::bigint
    FROM (
        SELECT child.relname, pg_get_expr(child.relpartbound, child.oid) AS bound
        FROM pg_inherits JOIN pg_class AS child ON child.oid = inhrelid WHERE inhparent = parent::regclass
    ) AS parts
$$;

-- The partitions of the transitions of these months, each given by an instant in it, but for those the first one holds.
CREATE FUNCTION add_transition_months(instants BIGINT[]) RETURNS VOID LANGUAGE sql AS $$
    SELECT add_partition('transition', to_char(to_timestamp(month / 1000) AT TIME ZONE 'UTC', '"transition_"YYYYMM'),
                         month, month_of(month + 31 * 86400000::bigint))
    FROM (SELECT DISTINCT month_of(instant) AS month FROM unnest(instants) AS instant) AS months
    WHERE month >= (SELECT to_ms FROM history_partitions('transition') WHERE from_ms IS NULL) ORDER BY month
$$;

-- Drops the oldest day of heartbeats that ends by `before`; answers whether there is another one. Waits for readers of
-- the table for a moment only: while it waits, nobody else gets at the table.
CREATE FUNCTION drop_heartbeat_day(before BIGINT) RETURNS BOOLEAN LANGUAGE plpgsql SET lock_timeout = '1s' AS $$
DECLARE
    oldest TEXT := (SELECT part FROM history_partitions('heartbeat') WHERE to_ms <= before ORDER BY to_ms LIMIT 1);
BEGIN
    IF oldest IS NOT NULL THEN
        EXECUTE format('DROP TABLE %I', oldest);
    END IF;
    RETURN EXISTS (SELECT FROM history_partitions('heartbeat') WHERE to_ms <= before);
END
$$;

-- Drops the months of transitions that end by `before`, all but the last transition of each vehicle that is there: it
-- says how the vehicle stands, and stood since. Those become the new first partition. Answers where that ends: nothing
-- older is known. What is dropped is locked against writing, not reading, while the rest is copied.
CREATE FUNCTION drop_transition_months(before BIGINT) RETURNS BIGINT LANGUAGE plpgsql SET lock_timeout = '2s' AS $$
DECLARE
    old   TEXT[];
    until BIGINT;
    kept  TEXT;
    each  TEXT;
BEGIN
    SELECT array_agg(part ORDER BY to_ms), max(to_ms) INTO old, until
    FROM history_partitions('transition') WHERE to_ms <= before;
    kept := format('transition_kept_%s', until);
    IF old IS NULL OR old = ARRAY[kept] THEN
        RETURN until;
    END IF;
    FOREACH each IN ARRAY old LOOP
        EXECUTE format('LOCK TABLE %I IN SHARE MODE', each);
    END LOOP;
    EXECUTE format('CREATE TABLE %I (LIKE transition INCLUDING ALL)', kept);
    EXECUTE format(
        'INSERT INTO %I SELECT last.* FROM vehicle, LATERAL (
             (SELECT t.* FROM transition AS t WHERE t.customer = vehicle.customer AND t.vehicle = vehicle.vehicle AND t.at_ms < %2$s
              ORDER BY at_ms DESC, seq DESC LIMIT 1)
             UNION ALL
             (SELECT t.* FROM transition AS t WHERE t.customer = vehicle.customer AND t.vehicle = vehicle.vehicle AND t.at_ms < %2$s
              ORDER BY seq DESC LIMIT 1)
         ) AS last ON CONFLICT DO NOTHING', kept, until);
    FOREACH each IN ARRAY old LOOP
        EXECUTE format('DROP TABLE %I', each);
    END LOOP;
    EXECUTE format('ALTER TABLE transition ATTACH PARTITION %I FOR VALUES FROM (MINVALUE) TO (%s)', kept, until);
    RETURN until;
END
$$;
