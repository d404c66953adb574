-- Which database this is: small files beside the store (local.rs) name it, so that those of another one are never
-- applied here. Made once, random; a backup that is restored keeps it.
CREATE TABLE identity (
    one INTEGER NOT NULL PRIMARY KEY DEFAULT 1 CHECK (one = 1),
    id  TEXT    NOT NULL                            -- 32 hexadecimal digits
) STRICT, WITHOUT ROWID;

INSERT INTO identity (id) VALUES (lower(hex(randomblob(16))));
