-- When Rollcall itself could hear: silence in between says nothing about a vehicle.

-- Few rows, one an outage: no index beside the key, which is what makes it safe to write twice.
CREATE TABLE observation_gap (
    scope   TEXT    NOT NULL,                       -- what was blind: process, link
    from_ms INTEGER NOT NULL,                       -- first blind instant
    to_ms   INTEGER CHECK (to_ms >= from_ms),       -- first instant of hearing again; none while it lasts
    cause   TEXT    NOT NULL,
    PRIMARY KEY (scope, from_ms)
) STRICT, WITHOUT ROWID;

-- One row: how far the last run got. The next run begins with a gap from here.
CREATE TABLE listening (
    one            INTEGER NOT NULL PRIMARY KEY DEFAULT 1 CHECK (one = 1),
    alive_until_ms INTEGER NOT NULL                 -- only ever grows
) STRICT, WITHOUT ROWID;
