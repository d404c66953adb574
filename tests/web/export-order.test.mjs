/** What the form of an export becomes as an order, and how an export is told in words. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { KINDS, bytes_words, extent_of, is_under_way, names_of, order_of, state_of, title_of } from "../../web/js/export-order.js";

const NOW = Date.UTC(2026, 0, 31, 12);
const form = (rest = {}) => ({ kind: "transitions", format: "csv", customer: "", vehicles: "", period: "24h", from: "", to: "", columns: KINDS[rest.kind ?? "transitions"].columns, readings: "", ...rest });
const of = (rest) => order_of(form(rest), NOW);

test("as it is first seen: a day of all customers, with every column and so with none named", () => {
  assert.deepEqual(of(), { order: { kind: "transitions", format: "csv", from: NOW - 86_400_000, to: NOW }, errors: [] });
});

test("vehicles are named one a line or with commas, each once, and belong to a customer", () => {
  assert.deepEqual(names_of(" TRK 1,\nTRK 2\n\nTRK 1 "), ["TRK 1", "TRK 2"]);
  assert.deepEqual(of({ customer: "acme", vehicles: "TRK 1" }).order.vehicles, ["TRK 1"]);
  assert.deepEqual(of({ vehicles: "TRK 1" }).errors.map(({ field }) => field), ["customer"]);
});

test("columns that are left out, and readings that are asked for, are named in the order of the file", () => {
  assert.deepEqual(of({ columns: ["to", "vehicle"] }).order.columns, ["vehicle", "to"]);
  const { order } = of({ kind: "vehicles", readings: "oil_c, metrics.fuel_l" });
  assert.deepEqual(order.columns.slice(-2), ["metrics.oil_c", "metrics.fuel_l"]);
  assert.equal("from" in order, false, "vehicles are as they are");
  assert.deepEqual(of({ columns: [] }).errors.map(({ field }) => field), ["columns"]);
});

test("a period by hand is in local time, and has a begin before its end", () => {
  const { order, errors } = of({ period: "custom", from: "2026-01-30T08:00:00", to: "2026-01-31T09:30:00" });
  assert.deepEqual([order.from, order.to, errors], [new Date(2026, 0, 30, 8).getTime(), new Date(2026, 0, 31, 9, 30).getTime(), []]);
  for (const [from, to, field] of [["", "2026-01-31T09:30", "from"], ["2026-01-31T09:30", "", "to"], ["2026-01-31T09:30", "2026-01-31T09:30", "to"]]) {
    assert.deepEqual(of({ period: "custom", from, to }).errors.map(({ field }) => field), [field]);
  }
});

test("each state is a sentence, and only waiting and writing are under way", () => {
  const at = (state, rest = {}) => ({ id: "1", state, progress: 0, rows: 0, bytes: 0, attempts: 0, error: null, expires_at: null, kind: "availability", format: "csv.zip", customer: "acme", vehicles: [], from: null, to: null, ...rest });
  const told = [at("NOT_STARTED"), at("NOT_STARTED", { attempts: 2, error: "the store does not answer" }), at("STARTED", { progress: 0.456, rows: 1_200, attempts: 1 }),
    at("FINISHED", { rows: 1, bytes: 4_900_000, expires_at: new Date(NOW + 3_600_000).toISOString() }), at("FAILED", { attempts: 1, error: "no space" }), at("CANCELLED"), at("EXPIRED")];
  assert.deepEqual(told.map((each) => state_of(each, NOW)), ["Waiting", "Failed 2 times, tried again soon: the store does not answer", "Writing, 45 %, 1,200 rows",
    "Ready: 1 row, 4.9 MB; kept for 1 h", "Failed for good: no space", "Cancelled", "Its file is gone"]);
  assert.deepEqual(told.map(is_under_way), [true, true, true, false, false, false, false]);
  assert.equal(title_of({ ...told[0], vehicles: ["A", "B", "C"] }), "Availability of acme, A and 2 others");
  assert.equal(title_of({ ...told[0], customer: null }), "Availability of all customers");
  assert.match(extent_of({ ...told[0], from: new Date(NOW).toISOString(), to: new Date(NOW).toISOString() }), / – .*, csv\.zip$/);
});

test("bytes are told in the unit that fits", () => {
  assert.deepEqual([0, 999, 1_000, 4_949_000, 5e12].map(bytes_words), ["0 bytes", "999 bytes", "1.0 KB", "4.9 MB", "5.0 TB"]);
});
