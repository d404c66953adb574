-- What operators write: how often they wrote to a row (the ETag of REST), which names vehicles have left and when, and
-- who gave which vehicle to whom.
ALTER TABLE customer ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;
ALTER TABLE vehicle ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;  -- 0: nobody registered it, it only spoke
-- A vehicle that comes back under a name it had left goes on with the numbers of its transitions. Those up to this one
-- belong to an earlier life and say nothing about its status now.
ALTER TABLE vehicle ADD COLUMN earlier_seq INTEGER NOT NULL DEFAULT 0;

-- Names that vehicles have left: deleted, or given to another customer. A transition that was decided before and comes
-- later, out of the spool, must not bring the vehicle back. Read whole at start.
CREATE TABLE departed (
    customer TEXT    NOT NULL,
    vehicle  TEXT    NOT NULL,
    seq      INTEGER NOT NULL,                      -- number of its last transition; the next life goes on from here
    revision INTEGER NOT NULL,                      -- likewise, of its row
    at_ms    INTEGER NOT NULL,                      -- since when it is gone
    purged   INTEGER NOT NULL CHECK (purged IN (0, 1)), -- its history went too: late transitions are dropped
    PRIMARY KEY (customer, vehicle)
) STRICT, WITHOUT ROWID;

-- Each time a vehicle left a name, for statistics: from then on it is in no level. What a rollup says is a function of
-- the stored transitions and of these rows. Gone with the history when that is purged.
CREATE TABLE departure (
    customer TEXT    NOT NULL,
    vehicle  TEXT    NOT NULL,
    seq      INTEGER  NOT NULL,                      -- number of its last transition then
    at_ms    INTEGER  NOT NULL,                      -- since when it was gone
    status   TEXT    NOT NULL CHECK (status IN ('online', 'offline', 'unobserved')), -- what it was until then
    PRIMARY KEY (customer, vehicle, seq)
) STRICT, WITHOUT ROWID;
-- Statistics ask for a minute.
CREATE INDEX departure_at ON departure (at_ms);

-- Who gave which vehicle to whom. Transitions stay with the customer of their time.
CREATE TABLE transfer (
    from_customer TEXT    NOT NULL,
    vehicle       TEXT    NOT NULL,
    at_ms         INTEGER NOT NULL,                 -- from then on it belongs to the other
    to_customer   TEXT    NOT NULL,
    PRIMARY KEY (from_customer, vehicle, at_ms)
) STRICT, WITHOUT ROWID;
-- The new owner asks too: where did it come from?
CREATE INDEX transfer_to ON transfer (to_customer, vehicle, at_ms);
