-- How long a vehicle said with its last heartbeat that it would sleep (`next_in_s`), counted from last_seen_ms: a sleeper
-- must not be called offline because Rollcall started anew. 0 when it announced nothing.
ALTER TABLE vehicle ADD COLUMN announced_ms BIGINT NOT NULL DEFAULT 0;
