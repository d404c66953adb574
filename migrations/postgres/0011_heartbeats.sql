-- The heartbeat log (setting history.heartbeats): what vehicles said, one row a heartbeat that is kept. Off by default,
-- because nothing else in this database grows with heartbeats.
--
-- `at_ms` orders a vehicle's history: the device's own time where it can be believed, else the arrival. `id` tells rows
-- of one instant apart and makes a batch safe to write twice: the number of the writer (identity.owner) and its own
-- running number within that, so it also counts up in the order of arrival. The key is the order in which a vehicle's
-- trail is read; there is no other index.
--
-- One partition a UTC day, so that old days are dropped whole.
CREATE TABLE heartbeat (
    customer    TEXT COLLATE "C" NOT NULL,
    vehicle     TEXT COLLATE "C" NOT NULL,
    at_ms       BIGINT  NOT NULL,
    id          BIGINT  NOT NULL,
    arrived_ms  BIGINT  NOT NULL,                   -- when it reached us, on our own timeline
    backlog     BOOLEAN NOT NULL,                   -- it had waited somewhere: it proves life then, not a place now
    seq         BIGINT,                             -- the device's own counter
    boot        BIGINT,                             -- fingerprint of the device's boot text
    lat         DOUBLE PRECISION,                   -- WGS 84 degrees; both or none
    lon         DOUBLE PRECISION,
    speed_kmh   REAL,
    heading_deg REAL,
    battery_pct REAL,
    odometer_km DOUBLE PRECISION,
    ignition    BOOLEAN,
    metrics     JSON,                               -- JSON array of [name, number]
    PRIMARY KEY (customer, vehicle, at_ms, id),
    CHECK ((lat IS NULL) = (lon IS NULL))
) PARTITION BY RANGE (at_ms);

-- Makes the partition for [from_ms, to_ms) of a table of history, unless it is there. Made beside the table and then
-- attached: that locks out neither readers nor the writer.
CREATE FUNCTION add_partition(parent TEXT, part TEXT, from_ms BIGINT, to_ms BIGINT) RETURNS VOID
LANGUAGE plpgsql AS $$
BEGIN
    IF to_regclass(format('%I', part)) IS NULL THEN
        -- Another connection may be making it: one waits for the other here, and neither readers nor the writer do.
        EXECUTE format('LOCK TABLE ONLY %I IN SHARE UPDATE EXCLUSIVE MODE', parent);
    END IF;
    IF to_regclass(format('%I', part)) IS NULL THEN
        EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', part, parent);
        EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)', parent, part, from_ms, to_ms);
    END IF;
END
$$;

-- The partitions of the heartbeats of these days, each given by an instant in it.
CREATE FUNCTION add_heartbeat_days(instants BIGINT[]) RETURNS VOID LANGUAGE sql AS $$
    SELECT add_partition('heartbeat', to_char(to_timestamp(day / 1000) AT TIME ZONE 'UTC', '"heartbeat_"YYYYMMDD'),
                         day, day + 86400000)
    FROM (SELECT DISTINCT instant / 86400000 * 86400000 AS day FROM unnest(instants) AS instant) AS days ORDER BY day
$$;
