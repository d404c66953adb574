-- Who may sign in with a name and a password. The hash is argon2id over a hash that is keyed with the pepper, which is
-- not in this database.
CREATE TABLE login_user (
    id             TEXT    NOT NULL PRIMARY KEY,    -- 16 hexadecimal digits
    login          TEXT    NOT NULL UNIQUE,         -- customer/name, or name for all customers
    role           TEXT    NOT NULL,                -- viewer, operator or admin
    hash           TEXT    NOT NULL,                -- with its salt and costs, so that these may change later
    pepper         TEXT    NOT NULL,                -- which pepper keyed the hash; says nothing of its secret
    made_at_ms     BIGINT  NOT NULL,
    made_by        TEXT    NOT NULL,
    disabled_at_ms BIGINT                           -- users are disabled, never deleted: old entries of the audit have a name
);

-- Who is signed in. A token is nowhere: only its hash, keyed with the pepper.
CREATE TABLE login_session (
    id            TEXT    NOT NULL PRIMARY KEY,     -- the first 16 digits of the hash
    hash          BYTEA   NOT NULL CHECK (length(hash) = 32),
    user_id       TEXT,                             -- of a user, or of the holder of a key
    key_id        TEXT,
    address       TEXT    NOT NULL,                 -- from where it was begun
    made_at_ms    BIGINT  NOT NULL,
    seen_at_ms    BIGINT  NOT NULL,                 -- last use, to the minute; only ever grows
    expires_at_ms BIGINT  NOT NULL,                 -- however much it is used
    CHECK ((user_id IS NULL) <> (key_id IS NULL))
);

-- All sessions of a user end at once.
CREATE INDEX login_session_of_user ON login_session (user_id);

-- Grows with each change of the two tables above, so that a running service sees the work of another process. Apart from
-- access_revision: people sign in often, and 100,000 keys are not read again for it.
CREATE TABLE login_revision (
    one      SMALLINT NOT NULL PRIMARY KEY DEFAULT 1 CHECK (one = 1),
    revision BIGINT  NOT NULL DEFAULT 0
);

INSERT INTO login_revision (one) VALUES (1);
