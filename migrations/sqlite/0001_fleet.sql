-- Customers, their vehicles, and what happened to each vehicle.
--
-- Every time is whole milliseconds since 1970 on Rollcall's own timeline, unless the column says it is the device's.
-- STRICT: SQLite keeps to the types written here. WITHOUT ROWID: the rows lie in the order of their key, which is how
-- they are read, and there is no second tree to keep.

CREATE TABLE customer (
    customer         TEXT    NOT NULL PRIMARY KEY,
    name             TEXT,                          -- for people
    offline_after_ms INTEGER                        -- the customer's own timeout; none: the fleet's
) STRICT, WITHOUT ROWID;

-- One row a vehicle: the fold of its transitions, and what the last checkpoint heard of it. Read whole, once, at start.
CREATE TABLE vehicle (
    customer         TEXT    NOT NULL REFERENCES customer (customer),
    vehicle          TEXT    NOT NULL,
    name             TEXT,
    registration     TEXT,                          -- number plate
    vin              TEXT,
    tags             TEXT    NOT NULL DEFAULT '[]', -- JSON array of texts; searched on the board, never here
    offline_after_ms INTEGER,                       -- the vehicle's own timeout; none: its customer's
    status           TEXT    NOT NULL DEFAULT 'never_seen'
                     CHECK (status IN ('never_seen', 'online', 'offline', 'unobserved')),
    status_since_ms  INTEGER,                       -- `at` of the transition `seq`
    seq              INTEGER NOT NULL DEFAULT 0,    -- number of the last transition; only ever grows
    last_seen_ms     INTEGER,                       -- arrival of the last heartbeat written down; only ever grows
    lat              REAL,                          -- WGS 84 degrees; all three of lat, lon, position_at_ms or none
    lon              REAL,
    position_at_ms   INTEGER,                       -- device's time of the position; only ever grows
    speed_kmh        REAL,
    heading_deg      REAL,
    battery_pct      REAL,
    odometer_km      REAL,
    ignition         INTEGER CHECK (ignition IN (0, 1)),
    metrics          TEXT,                          -- JSON array of [name, number]
    as_of_ms         INTEGER NOT NULL DEFAULT 0,    -- device's time of the newest facts: older ones are no news (R17)
    clock_skew_ms    INTEGER,                       -- device's clock minus ours
    PRIMARY KEY (customer, vehicle),
    CHECK ((lat IS NULL) = (position_at_ms IS NULL) AND (lon IS NULL) = (position_at_ms IS NULL))
) STRICT, WITHOUT ROWID;

-- The history. The key is what makes a batch safe to write twice. No reference to vehicle: history may outlive it.
CREATE TABLE transition (
    customer      TEXT    NOT NULL,
    vehicle       TEXT    NOT NULL,
    seq           INTEGER NOT NULL CHECK (seq > 0), -- counts up by one within the vehicle
    from_status   TEXT    NOT NULL CHECK (from_status IN ('never_seen', 'online', 'offline', 'unobserved')),
    to_status     TEXT    NOT NULL CHECK (to_status IN ('never_seen', 'online', 'offline', 'unobserved')),
    at_ms         INTEGER NOT NULL,                 -- when it holds from: the arrival, or the deadline
    decided_at_ms INTEGER NOT NULL,                 -- when it was decided
    cause         TEXT    NOT NULL CHECK (cause IN ('heartbeat', 'silence', 'last_will', 'goodbye', 'blind')),
    evidence      TEXT    NOT NULL,                 -- JSON object: what the decision rested on
    PRIMARY KEY (customer, vehicle, seq)
) STRICT, WITHOUT ROWID;

-- Lists are read newest first, by (at, customer, vehicle, seq), a page at a time; each index is one list in that order.
CREATE INDEX transition_of_vehicle ON transition (customer, vehicle, at_ms, seq);
CREATE INDEX transition_of_customer ON transition (customer, at_ms, vehicle, seq);
CREATE INDEX transition_of_fleet ON transition (at_ms, customer, vehicle, seq);
-- The few that went offline or unobserved are found without walking the many that came online.
CREATE INDEX transition_to_status ON transition (to_status, at_ms, customer, vehicle, seq);
