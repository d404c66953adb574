-- When Rollcall itself could hear: silence in between says nothing about a vehicle.

-- Few rows, one an outage: no index beside the key, which is what makes it safe to write twice.
CREATE TABLE observation_gap (
    scope   TEXT COLLATE "C" NOT NULL,              -- what was blind: process, link
    from_ms BIGINT NOT NULL,                        -- first blind instant
    to_ms   BIGINT  CHECK (to_ms >= from_ms),       -- first instant of hearing again; none while it lasts
    cause   TEXT    NOT NULL,
    PRIMARY KEY (scope, from_ms)
);

-- One row: how far the last run got. The next run begins with a gap from here.
CREATE TABLE listening (
    one            SMALLINT NOT NULL PRIMARY KEY DEFAULT 1 CHECK (one = 1),
    alive_until_ms BIGINT NOT NULL                  -- only ever grows
);
