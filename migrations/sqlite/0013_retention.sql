-- History that is dropped by age: how far back each kind reaches. What is dropped goes a few rows at a time, by the keys
-- and indexes that are there; the file keeps its size, and its free pages are used again.

-- Everything of a kind before this instant was dropped, or may be at any moment: whoever reads says so.
CREATE TABLE history_horizon (
    kind      TEXT    NOT NULL PRIMARY KEY CHECK (kind IN ('transitions', 'heartbeats', 'statistics_minutes')),
    before_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- With what availability reads of a transition, so that a month of a thousand vehicles is read from the index alone.
DROP INDEX transition_of_vehicle;
CREATE INDEX transition_of_vehicle ON transition (customer, vehicle, at_ms, seq, to_status, cause);
