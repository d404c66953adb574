-- The archive (setting history.archive): what is dropped by age is written to files first.

-- How far each kind is archived.
CREATE TABLE archive_reach (
    kind        TEXT NOT NULL PRIMARY KEY CHECK (kind IN ('transitions', 'heartbeats', 'statistics_minutes')),
    fence_ms    BIGINT,                             -- a row from before this instant is noted in archive_late when it
                                                    -- is written; none: nothing is archived at present. Moved while nobody
                                                    -- writes (identity is locked)
    archived_ms BIGINT                              -- every row from before this instant is in a file, but for those
);

-- The files. A row is there before its file is begun, so that no file is ever there that no row names.
CREATE TABLE archive_file (
    file       TEXT COLLATE "C" NOT NULL PRIMARY KEY, -- its name in the place of the files (exports.*)
    kind       TEXT    NOT NULL,
    from_ms    BIGINT  NOT NULL,
    to_ms      BIGINT  NOT NULL,
    late       BOOLEAN NOT NULL,                    -- it holds what came after the file of this time was written
    made_at_ms BIGINT  NOT NULL,
    row_count  BIGINT  NOT NULL DEFAULT 0,
    bytes      BIGINT  NOT NULL DEFAULT 0,
    checksum   TEXT                                 -- of its rows; none: it is being written, or its writer died;
                                                    -- empty: it is given up, and its file goes
);
CREATE INDEX archive_file_by_time ON archive_file (kind, from_ms);

-- Rows that came when the file of their time was written, or being written: they are in none yet, and are not dropped.
-- Few: a store that was away for long, a vehicle's clock. `number` is the row's seq or id.
CREATE TABLE archive_late (
    kind     TEXT             NOT NULL,
    at_ms    BIGINT           NOT NULL,
    customer TEXT COLLATE "C" NOT NULL,
    vehicle  TEXT COLLATE "C" NOT NULL,
    number   BIGINT           NOT NULL,
    file     TEXT COLLATE "C",                      -- that which it is being written to
    PRIMARY KEY (kind, at_ms, customer, vehicle, number)
);

-- Whoever writes rows notes them, in the same transaction: no statement has to think of it. Once a statement, not a
-- row.
CREATE FUNCTION note_late_transitions() RETURNS TRIGGER LANGUAGE plpgsql AS $$
DECLARE
    fence BIGINT := (SELECT fence_ms FROM archive_reach WHERE kind = 'transitions');
BEGIN
    IF fence IS NOT NULL THEN
        INSERT INTO archive_late (kind, at_ms, customer, vehicle, number)
        SELECT 'transitions', at_ms, customer, vehicle, seq FROM added WHERE at_ms < fence
        ON CONFLICT (kind, at_ms, customer, vehicle, number) DO UPDATE SET file = NULL;
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER transition_is_late AFTER INSERT ON transition REFERENCING NEW TABLE AS added
FOR EACH STATEMENT EXECUTE FUNCTION note_late_transitions();

CREATE FUNCTION note_late_heartbeats() RETURNS TRIGGER LANGUAGE plpgsql AS $$
DECLARE
    fence BIGINT := (SELECT fence_ms FROM archive_reach WHERE kind = 'heartbeats');
BEGIN
    IF fence IS NOT NULL THEN
        INSERT INTO archive_late (kind, at_ms, customer, vehicle, number)
        SELECT 'heartbeats', at_ms, customer, vehicle, id FROM added WHERE at_ms < fence
        ON CONFLICT (kind, at_ms, customer, vehicle, number) DO UPDATE SET file = NULL;
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER heartbeat_is_late AFTER INSERT ON heartbeat REFERENCING NEW TABLE AS added
FOR EACH STATEMENT EXECUTE FUNCTION note_late_heartbeats();

-- As in 0014, but a day with rows that are in no file stays. The table is locked before that is looked at, so that
-- nobody adds one in between.
CREATE OR REPLACE FUNCTION drop_heartbeat_day(before BIGINT) RETURNS BOOLEAN
LANGUAGE plpgsql SET lock_timeout = '1s' AS $$
DECLARE
    oldest TEXT;
    begins BIGINT;
    ends   BIGINT;
BEGIN
    SELECT part, from_ms, to_ms INTO oldest, begins, ends
    FROM history_partitions('heartbeat') WHERE to_ms <= before ORDER BY to_ms LIMIT 1;
    IF oldest IS NOT NULL THEN
        LOCK TABLE ONLY heartbeat IN ACCESS EXCLUSIVE MODE;
        IF EXISTS (SELECT FROM archive_late WHERE kind = 'heartbeats' AND at_ms >= begins AND at_ms < ends) THEN
            RETURN false;
        END IF;
        EXECUTE format('DROP TABLE %I', oldest);
    END IF;
    RETURN EXISTS (SELECT FROM history_partitions('heartbeat') WHERE to_ms <= before);
END
$$;

-- As in 0014, but months with rows that are in no file stay.
CREATE OR REPLACE FUNCTION drop_transition_months(before BIGINT) RETURNS BIGINT
LANGUAGE plpgsql SET lock_timeout = '2s' AS $$
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
    IF EXISTS (SELECT FROM archive_late WHERE kind = 'transitions' AND at_ms < until) THEN
        RETURN until;
    END IF;
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
