-- Who a user is to an identity provider (OpenID Connect); both or neither. Such a user has no password: the hash is empty,
-- and an empty one fits nothing.
ALTER TABLE login_user ADD COLUMN issuer TEXT;
ALTER TABLE login_user ADD COLUMN subject TEXT;

-- One person is one user here, however often the name changes there.
CREATE UNIQUE INDEX login_user_identity ON login_user (issuer, subject) WHERE issuer IS NOT NULL;
