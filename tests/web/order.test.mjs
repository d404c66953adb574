/** Which vehicles the table shows, and in what order. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { CHANGED, Fleet } from "../../web/js/fleet.js";
import { affects_order, same_order, select } from "../../web/js/order.js";
import { no_filters } from "../../web/js/url.js";
import { cost_ms } from "./cost.mjs";

const at = (second) => new Date(Date.UTC(2026, 0, 1, 0, 0, second)).toISOString();
const FLEET = new Fleet();
FLEET.join_vehicles([
  { customer: "globex", vehicle: "B-2", status: "offline", last_seen: at(20), name: "Night Van", tags: ["reefer"] },
  { customer: "acme", vehicle: "A-1", status: "online", last_seen: at(30), registration: "AB12 CDE", tags: ["ev", "reefer"] },
  { customer: "acme", vehicle: "C-3", status: "never_seen", last_seen: null },
  { customer: "acme", vehicle: "B-2", status: "unobserved", last_seen: at(10), vin: "1HGCM82633A" },
]);

const shown = (filters) => [...select(FLEET, { ...no_filters(), ...filters }).order].map((slot) => FLEET.key_of(slot));

test("without filters every vehicle is there, by vehicle and then customer", () => {
  assert.deepEqual(shown({}), ["acme/A-1", "acme/B-2", "globex/B-2", "acme/C-3"]);
  assert.deepEqual(shown({ sort: "-vehicle" }), ["acme/C-3", "globex/B-2", "acme/B-2", "acme/A-1"]);
});

test("by last seen, vehicles never seen come last both ways", () => {
  assert.deepEqual(shown({ sort: "-last_seen" }), ["acme/A-1", "globex/B-2", "acme/B-2", "acme/C-3"]);
  assert.deepEqual(shown({ sort: "last_seen" }), ["acme/B-2", "globex/B-2", "acme/A-1", "acme/C-3"]);
});

test("filters by customer, status and text, which looks into four fields in any case", () => {
  assert.deepEqual(shown({ customer: "globex" }), ["globex/B-2"]);
  assert.deepEqual(shown({ status: ["offline", "unobserved"] }), ["acme/B-2", "globex/B-2"]);
  for (const [q, vehicle] of [["night", "globex/B-2"], ["ab12", "acme/A-1"], ["CM826", "acme/B-2"], [" c-3 ", "acme/C-3"]]) {
    assert.deepEqual(shown({ q }), [vehicle]);
  }
  assert.deepEqual(shown({ q: "nothing like it" }), []);
});

test("a tag is matched whole", () => {
  assert.deepEqual(shown({ tag: "reefer" }), ["acme/A-1", "globex/B-2"]);
  assert.deepEqual(shown({ tag: "ev", customer: "acme" }), ["acme/A-1"]);
  assert.deepEqual(shown({ tag: "ree" }), []);
});

test("the tally ignores the status filter, so each button says what it would show", () => {
  const { tally, order } = select(FLEET, { ...no_filters(), customer: "acme", status: ["online"] });
  assert.deepEqual(tally, [1, 0, 1, 1]);
  assert.equal(order.length, 1);
});

test("a heartbeat alone moves rows only when they are sorted by it", () => {
  assert.equal(affects_order(CHANGED.seen, no_filters()), false);
  assert.equal(affects_order(CHANGED.seen, { ...no_filters(), sort: "-last_seen" }), true);
  assert.equal(affects_order(CHANGED.status, no_filters()), true);
});

test("orders are compared by content", () => {
  assert.equal(same_order(Uint32Array.of(1, 2), Uint32Array.of(1, 2)), true);
  assert.equal(same_order(Uint32Array.of(1, 2), Uint32Array.of(2, 1)), false);
});

test("removed vehicles are not selected, and are removed once however often it is said", () => {
  const fleet = new Fleet();
  fleet.join_vehicles([{ customer: "a", vehicle: "x" }, { customer: "a", vehicle: "y" }]);
  fleet.leave([0, 0]);
  fleet.leave([0]);
  assert.equal(fleet.size, 1);
  assert.deepEqual([...select(fleet, no_filters()).order], [1]);
});

test("100,000 vehicles are filtered and sorted within a frame or two", () => {
  const fleet = new Fleet();
  fleet.join_vehicles(Array.from({ length: 100_000 }, (_, i) => ({ customer: `c${i % 50}`, vehicle: `VEH-${i}`, status: "online", last_seen: at((i * 7_919) % 86_400) })));
  fleet.named_order();
  fleet.search_texts();
  let order;
  const took_ms = cost_ms(() => { ({ order } = select(fleet, { ...no_filters(), q: "veh-9", sort: "-last_seen" })); });
  assert.equal(order.length, 11_111);
  assert.ok(took_ms < 250, `took ${took_ms.toFixed(0)} ms`); // 15 to 25 when idle; the limit allows for a busy machine
});
