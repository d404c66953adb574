-- Who may come in. The secret of a key is nowhere: only its hash, keyed with a pepper that is not in this database.
CREATE TABLE access_key (
    id              TEXT    NOT NULL PRIMARY KEY,   -- 16 hexadecimal digits, part of the key
    name            TEXT    NOT NULL,               -- for people
    customer        TEXT,                           -- none: all customers. No reference: it may come before its customer
    vehicle         TEXT,                           -- the one vehicle that sends with it; none: any
    scopes          TEXT    NOT NULL,               -- comma list of read, ingest, manage, admin
    hash            BYTEA   NOT NULL CHECK (length(hash) = 32),
    pepper          TEXT    NOT NULL,               -- which pepper keyed the hash; says nothing of its secret
    made_at_ms      BIGINT  NOT NULL,
    made_by         TEXT    NOT NULL,
    expires_at_ms   BIGINT,                         -- none: never
    revoked_at_ms   BIGINT,                         -- revoked keys stay, so that old entries of the audit have a name
    last_used_at_ms BIGINT                          -- to the minute; only ever grows
);

-- Grows with each key that is made or revoked, so that a running service sees the work of another process.
CREATE TABLE access_revision (
    one      SMALLINT NOT NULL PRIMARY KEY DEFAULT 1 CHECK (one = 1),
    revision BIGINT  NOT NULL DEFAULT 0
);

INSERT INTO access_revision (one) VALUES (1);

-- What administrators did, and who tried to. Identity: a number is never given twice, so pages stay stable.
CREATE TABLE audit (
    number   BIGINT  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at_ms    BIGINT  NOT NULL,
    who      TEXT    NOT NULL,
    customer TEXT,                                  -- whose affair it was; none: that of all customers
    what     TEXT    NOT NULL,                      -- such as key.created
    subject  TEXT    NOT NULL,                      -- to which key, vehicle or user
    address  TEXT    NOT NULL,                      -- from where; empty: the command line
    result   TEXT    NOT NULL                       -- ok, or why not
);

-- A customer's own entries, and the oldest ones, which go first.
CREATE INDEX audit_of_customer ON audit (customer, number);
CREATE INDEX audit_by_time ON audit (at_ms);
