-- One index less for each transition that is written. In the order of their times the transitions of the whole fleet are
-- merged from those into each status, which lie in that order already.
DROP INDEX transition_of_fleet;
CREATE VIEW transition_of_fleet AS
    SELECT customer, vehicle, seq, from_status, to_status, at_ms, decided_at_ms, cause, evidence FROM transition
    WHERE to_status = 'never_seen'
    UNION ALL
    SELECT customer, vehicle, seq, from_status, to_status, at_ms, decided_at_ms, cause, evidence FROM transition
    WHERE to_status = 'online'
    UNION ALL
    SELECT customer, vehicle, seq, from_status, to_status, at_ms, decided_at_ms, cause, evidence FROM transition
    WHERE to_status = 'offline'
    UNION ALL
    SELECT customer, vehicle, seq, from_status, to_status, at_ms, decided_at_ms, cause, evidence FROM transition
    WHERE to_status = 'unobserved';
