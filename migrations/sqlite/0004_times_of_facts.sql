-- Each fact of a vehicle is ordered by itself (R17): when it was so by the device's clock, as far as that is believed,
-- and the device's own number (`seq`) of the beat it is from, which tells beats of one instant apart; none is below any.
-- A position has had its time all along. Both are null while the fact is. They only ever grow, as a pair.
ALTER TABLE vehicle ADD COLUMN position_seq INTEGER;
ALTER TABLE vehicle ADD COLUMN battery_at_ms INTEGER;
ALTER TABLE vehicle ADD COLUMN battery_seq INTEGER;
ALTER TABLE vehicle ADD COLUMN odometer_at_ms INTEGER;
ALTER TABLE vehicle ADD COLUMN odometer_seq INTEGER;
ALTER TABLE vehicle ADD COLUMN ignition_at_ms INTEGER;
ALTER TABLE vehicle ADD COLUMN ignition_seq INTEGER;
ALTER TABLE vehicle ADD COLUMN metrics_at_ms INTEGER;
ALTER TABLE vehicle ADD COLUMN metrics_seq INTEGER;
ALTER TABLE vehicle ADD COLUMN clock_skew_at_ms INTEGER;
ALTER TABLE vehicle ADD COLUMN clock_skew_seq INTEGER;

-- Until now one time stood for all facts: none of them is newer than it. It is not written any more, and a later migration
-- may drop it.
UPDATE vehicle SET
    battery_at_ms = CASE WHEN battery_pct IS NOT NULL THEN as_of_ms END,
    odometer_at_ms = CASE WHEN odometer_km IS NOT NULL THEN as_of_ms END,
    ignition_at_ms = CASE WHEN ignition IS NOT NULL THEN as_of_ms END,
    metrics_at_ms = CASE WHEN metrics IS NOT NULL THEN as_of_ms END,
    clock_skew_at_ms = CASE WHEN clock_skew_ms IS NOT NULL THEN as_of_ms END;
