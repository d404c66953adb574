-- What a Mosquitto needs to know a key again: PBKDF2 of the whole key, in Mosquitto's own form. Made with the key, since
-- nobody knows the secret afterwards; a key that was made before has none, and is made anew where it is needed.
CREATE TABLE mosquitto_login (
    key_id text NOT NULL PRIMARY KEY,   -- of access_key
    hash   text NOT NULL                -- $7$rounds$salt$hash
);
