-- The heartbeat log (setting history.heartbeats): what vehicles said, one row a heartbeat that is kept. Off by default,
-- because nothing else in this database grows with heartbeats.
--
-- `at_ms` orders a vehicle's history: the device's own time where it can be believed, else the arrival. `id` tells rows
-- of one instant apart and makes a batch safe to write twice: the number of the writer (identity.owner) and its own
-- running number within that, so it also counts up in the order of arrival. The key is the order in which a vehicle's
-- trail is read, and whole days of a vehicle are deleted by it; there is no other index.
CREATE TABLE heartbeat (
    customer    TEXT    NOT NULL,
    vehicle     TEXT    NOT NULL,
    at_ms       INTEGER NOT NULL,
    id          INTEGER NOT NULL,
    arrived_ms  INTEGER NOT NULL,                   -- when it reached us, on our own timeline
    backlog     INTEGER NOT NULL CHECK (backlog IN (0, 1)), -- it had waited somewhere: it proves life then, not a place now
    seq         INTEGER,                            -- the device's own counter
    boot        INTEGER,                            -- fingerprint of the device's boot text
    lat         REAL,                               -- WGS 84 degrees; both or none
    lon         REAL,
    speed_kmh   REAL,
    heading_deg REAL,
    battery_pct REAL,
    odometer_km REAL,
    ignition    INTEGER CHECK (ignition IN (0, 1)),
    metrics     TEXT,                               -- JSON array of [name, number]
    PRIMARY KEY (customer, vehicle, at_ms, id),
    CHECK ((lat IS NULL) = (lon IS NULL))
) STRICT, WITHOUT ROWID;
