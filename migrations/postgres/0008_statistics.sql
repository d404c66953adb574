-- Statistics: how many vehicles were there, and how many heartbeats came, by customer and for the whole fleet.
--
-- Rule: what a row says of statuses is a function of the stored transitions whose `at` lies in its span, and of nothing
-- else. Who stores or deletes a transition marks its minute in the same transaction (rollup_mark); who writes the
-- minute anew from the transitions takes the mark away in the same transaction. So a batch that comes twice, a replay
-- of the spool, a decision dated back and a crash between any two writes all end in the same rows.
--
-- No level is kept, only how it changed: a decision that is dated back touches the rows of its own instant, and none
-- of those after it. A level is the sum of the changes before it. Changes add up, over any spans.
CREATE TABLE rollup (
    customer          TEXT COLLATE "C" NOT NULL,  -- '' is the whole fleet: it costs the same with any customers
    span_ms           BIGINT  NOT NULL CHECK (span_ms IN (60000, 900000, 3600000)), -- minute; quarter, which every
                                                    -- time zone's day begins on; hour. Each is summed from the former
    at_ms             BIGINT  NOT NULL CHECK (at_ms % span_ms = 0), -- where the span begins
    heartbeats        BIGINT  NOT NULL DEFAULT 0,   -- by arrival; the only figure that no transition tells
    went_online       BIGINT  NOT NULL DEFAULT 0,   -- transitions to each status
    went_offline      BIGINT  NOT NULL DEFAULT 0,
    went_unobserved   BIGINT  NOT NULL DEFAULT 0,
    online_net        BIGINT  NOT NULL DEFAULT 0,   -- vehicles in each status at the end, less those at the beginning
    offline_net       BIGINT  NOT NULL DEFAULT 0,
    unobserved_net    BIGINT  NOT NULL DEFAULT 0,
    online_within     BIGINT  NOT NULL DEFAULT 0,   -- sum over the changes of what was left of the span, vehicle-ms
    offline_within    BIGINT  NOT NULL DEFAULT 0,
    unobserved_within BIGINT  NOT NULL DEFAULT 0,
    online_dip        BIGINT  NOT NULL DEFAULT 0 CHECK (online_dip <= 0),   -- fewest online, less the first
    online_peak       BIGINT  NOT NULL DEFAULT 0 CHECK (online_peak >= 0),  -- most online, likewise
    PRIMARY KEY (customer, span_ms, at_ms)
);

-- Minutes to write anew. Few rows, gone within seconds.
CREATE TABLE rollup_mark (
    at_ms    BIGINT  NOT NULL,
    customer TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (at_ms, customer)
);

-- What was stored before there were statistics is counted too.
INSERT INTO rollup_mark (at_ms, customer) SELECT DISTINCT at_ms / 60000 * 60000, customer FROM transition;

-- Counted heartbeats are added, so an addition whose answer was lost must not be made again: the last one, by the
-- number of its writer (identity.owner) and its own within that.
CREATE TABLE rollup_beats (
    one    SMALLINT NOT NULL PRIMARY KEY DEFAULT 1 CHECK (one = 1),
    owner  BIGINT  NOT NULL,
    number BIGINT  NOT NULL
);
INSERT INTO rollup_beats (owner, number) VALUES (0, 0);
