-- The archive (setting history.archive): what is dropped by age is written to files first.

-- How far each kind is archived.
CREATE TABLE archive_reach (
    kind        TEXT    NOT NULL PRIMARY KEY CHECK (kind IN ('transitions', 'heartbeats', 'statistics_minutes')),
    fence_ms    INTEGER,                            -- a row from before this instant is noted in archive_late when it
                                                    -- is written; none: nothing is archived at present
    archived_ms INTEGER                             -- every row from before this instant is in a file, but for those
) STRICT, WITHOUT ROWID;

-- The files. A row is there before its file is begun, so that no file is ever there that no row names.
CREATE TABLE archive_file (
    file       TEXT    NOT NULL PRIMARY KEY,        -- its name in the place of the files (exports.*)
    kind       TEXT    NOT NULL,
    from_ms    INTEGER NOT NULL,
    to_ms      INTEGER NOT NULL,
    late       INTEGER NOT NULL CHECK (late IN (0, 1)), -- it holds what came after the file of this time was written
    made_at_ms INTEGER NOT NULL,
    row_count  INTEGER NOT NULL DEFAULT 0,
    bytes      INTEGER NOT NULL DEFAULT 0,
    checksum   TEXT                                 -- of its rows; none: it is being written, or its writer died;
                                                    -- empty: it is given up, and its file goes
) STRICT, WITHOUT ROWID;
CREATE INDEX archive_file_by_time ON archive_file (kind, from_ms);

-- Rows that came when the file of their time was written, or being written: they are in none yet, and are not dropped.
-- Few: a store that was away for long, a vehicle's clock. `number` is the row's seq or id.
CREATE TABLE archive_late (
    kind     TEXT    NOT NULL,
    at_ms    INTEGER NOT NULL,
    customer TEXT    NOT NULL,
    vehicle  TEXT    NOT NULL,
    number   INTEGER NOT NULL,
    file     TEXT,                                  -- that which it is being written to
    PRIMARY KEY (kind, at_ms, customer, vehicle, number)
) STRICT, WITHOUT ROWID;

-- Whoever writes a row notes it, in the same transaction: no statement has to think of it.
CREATE TRIGGER transition_is_late AFTER INSERT ON transition
WHEN NEW.at_ms < (SELECT fence_ms FROM archive_reach WHERE kind = 'transitions')
BEGIN
    INSERT INTO archive_late (kind, at_ms, customer, vehicle, number)
    VALUES ('transitions', NEW.at_ms, NEW.customer, NEW.vehicle, NEW.seq)
    ON CONFLICT (kind, at_ms, customer, vehicle, number) DO UPDATE SET file = NULL;
END;

CREATE TRIGGER heartbeat_is_late AFTER INSERT ON heartbeat
WHEN NEW.at_ms < (SELECT fence_ms FROM archive_reach WHERE kind = 'heartbeats')
BEGIN
    INSERT INTO archive_late (kind, at_ms, customer, vehicle, number)
    VALUES ('heartbeats', NEW.at_ms, NEW.customer, NEW.vehicle, NEW.id)
    ON CONFLICT (kind, at_ms, customer, vehicle, number) DO UPDATE SET file = NULL;
END;
