-- Exports: the queue of what was ordered, and the list of what is there. The files themselves lie in a folder or in an
-- S3-compatible store (setting exports.*), under the name in `file`.
--
-- Who works on one holds a lease on it, which ends by itself when the process dies; each try has a number, and who
-- writes names the try he works on, so that one whose lease was taken over cannot finish it a second time.
CREATE TABLE export (
    id         TEXT    NOT NULL PRIMARY KEY,        -- 16 hexadecimal digits
    tenant     TEXT,                                -- whose key ordered it; none: one for all customers
    made_by    TEXT    NOT NULL,
    made_at_ms INTEGER NOT NULL,
    what       TEXT    NOT NULL,                    -- JSON object: the order
    state      TEXT    NOT NULL DEFAULT 'NOT_STARTED'
               CHECK (state IN ('NOT_STARTED', 'STARTED', 'FINISHED', 'FAILED', 'CANCELLED', 'EXPIRED')),
    due_ms     INTEGER NOT NULL,                    -- not tried before this: grows with each try that failed
    attempts   INTEGER NOT NULL DEFAULT 0,          -- tries that were begun; the number of the present one
    holder     INTEGER,                             -- the process that works on it (identity.owner)
    lease_ms   INTEGER,                             -- it is that one's until this instant
    progress   REAL    NOT NULL DEFAULT 0,          -- 0 to 1
    row_count  INTEGER NOT NULL DEFAULT 0,
    bytes      INTEGER NOT NULL DEFAULT 0,
    error      TEXT,                                -- why the last try failed
    file       TEXT,                                -- its name in the folder, once it is there
    ended_ms   INTEGER,                             -- finished, failed, cancelled; old ones are forgotten by it
    expires_ms INTEGER                              -- the file goes at this instant
) STRICT, WITHOUT ROWID;

-- The next one to be tried, and whose files go, are found without looking at those that are over.
CREATE INDEX export_by_state ON export (state, due_ms);
-- Lists, newest first.
CREATE INDEX export_by_time ON export (made_at_ms, id);
CREATE INDEX export_of_tenant ON export (tenant, made_at_ms, id);
