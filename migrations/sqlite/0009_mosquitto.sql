-- What a Mosquitto needs to know a key again: PBKDF2 of the whole key, in Mosquitto's own form. Made with the key, since
-- nobody knows the secret afterwards; a key that was made before has none, and is made anew where it is needed.
CREATE TABLE mosquitto_login (
    key_id TEXT NOT NULL PRIMARY KEY,   -- of access_key
    hash   TEXT NOT NULL                -- $7$rounds$salt$hash
) STRICT, WITHOUT ROWID;
