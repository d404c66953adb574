/** What the banner says, and in which order troubles win. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { message } from "../../web/js/banner.js";
import { LiveState } from "../../web/js/state.js";

const NOW = 100_000;
const open = { phase: "open", heard_at: NOW - 500, lost_at: null, retry_at: null, bye: "", refused: 0 };

function state({ loaded = true } = {}) {
  const state = new LiveState();
  state.loaded = loaded;
  return state;
}

const said = (link, of = state(), ignored = [], degraded = "") => message({ ...open, ...link }, of, ignored, degraded, NOW);

test("nothing is said while all is well", () => {
  assert.deepEqual(said({}), { kind: "live", text: "", ticking: "", action: "" });
});

test("a lost connection says since when, counts down beside the text, and offers to try now", () => {
  const { kind, text, ticking, action } = said({ phase: "waiting", lost_at: NOW - 3_000, retry_at: NOW + 2_100 });
  assert.equal(kind, "lost");
  assert.match(text, /^Connection lost at \d\d:\d\d:\d\d\. Showing data from then\.$/);
  assert.deepEqual([ticking, action], ["Retrying in 3 s", "retry"]);
});

test("it stays lost through the next attempt, and names the server's reason", () => {
  const { kind, text, ticking, action } = said({ phase: "connecting", lost_at: NOW - 3_000, bye: "restarting" });
  assert.match(text, /^The server closed the connection \(restarting\)/);
  assert.deepEqual([kind, ticking, action], ["lost", "Connecting …", ""]);
});

test("silence makes values old", () => {
  const { kind, text, ticking } = said({ heard_at: NOW - 8_000 });
  assert.match(text, /^No updates since .* Values may be old\.$/);
  assert.deepEqual([kind, ticking], ["stale", "silent for 8 s"]);
});

test("loading says how many and how far", () => {
  const loading = state({ loaded: false });
  loading.server_tally = [99_000, 1_000, 0, 0];
  loading.incoming = { received: 400, total: 1_000 };
  const { text, ticking } = said({}, loading);
  assert.deepEqual([text, ticking], ["Loading 100,000 vehicles …", "40 %"]);
});

test("blindness is ours, and no vehicle is blamed for it", () => {
  const blind = state();
  blind.observation = { type: "observation", listening: false, since: "2026-01-31T08:15:00.000Z", cause: "broker_link_down" };
  const { kind, text } = said({}, blind);
  assert.equal(kind, "blind");
  assert.match(text, /^Rollcall itself was not listening since .* \(broker link down\)\. No vehicle is called offline for it\.$/);
});

test("blindness says which part cannot hear", () => {
  const blind = state();
  const cause = "our canary does not come back through the broker in time (its topic is a_b/c)";
  blind.observation = { type: "observation", listening: false, since: "2026-01-31T08:15:00.000Z", scope: "intake", cause };
  assert.ok(said({}, blind).text.includes(`(its own test heartbeats are late: ${cause}). No vehicle`), said({}, blind).text);
});

test("having caught up is said for a while", () => {
  const back = state();
  back.caught_up = { changes: 214, at: NOW - 1_000 };
  assert.equal(said({}, back).text, "Up to date again, 214 changes while away.");
  back.caught_up = { changes: 214, at: NOW - 60_000 };
  assert.equal(said({}, back).kind, "live");
});

test("what the address could not mean is named", () => {
  assert.match(said({}, state(), ["status=broken"]).text, /status=broken/);
});

test("who may not look is told so, with the way in, and keeps what is there", () => {
  const at = { phase: "waiting", lost_at: NOW - 3_000, retry_at: NOW + 9_000 };
  const { kind, text, action } = said({ ...at, refused: 401 });
  assert.deepEqual([kind, action], ["refused", "sign-in"]);
  assert.match(text, /^You are not signed in, or not any more: no updates since .* Showing data from then\.$/);
  assert.match(said({ ...at, refused: 403 }).text, /^This account may not see the live fleet/);
});

test("a part of the service that does not work is named; a lost connection is worse", () => {
  const words = "The sqlite store takes no writes. Live status is not affected, history is behind.";
  assert.deepEqual(said({}, state(), [], words), { kind: "degraded", text: words, ticking: "", action: "" });
  assert.equal(said({ phase: "waiting", lost_at: NOW, retry_at: NOW }, state(), [], words).kind, "lost");
});

test("a page of an older version offers to reload; one that does not know its version does not", () => {
  const old = state();
  old.service = { page: "0.1.0", now: "0.2.0", page_files: "a", files: "b" };
  const { kind, text, action } = said({}, old);
  assert.deepEqual([kind, action], ["updated", "reload"]);
  assert.match(text, /version 0\.2\.0\. This page is of 0\.1\.0\./);
  old.service.now = "0.1.0";
  assert.deepEqual([said({}, old).text, said({}, old).action], ["Dashboard was updated. This page is of an older build.", "reload"]);
  for (const [page, now] of [["", "0.2.0"], ["0.2.0", ""], ["0.2.0", "0.2.0"]]) {
    const service = { page, now, page_files: page, files: now };
    assert.equal(said({}, Object.assign(state(), { service })).kind, "live");
  }
});

test("updates that come seldom are said, once that is no accident", () => {
  const slow = state();
  slow.pace.begin(250);
  for (const versions of [8, 8]) slow.pace.stepped(versions);
  assert.equal(said({}, slow).kind, "live");
  slow.pace.stepped(6);
  const { kind, text } = said({}, slow);
  assert.equal(kind, "behind");
  assert.match(text, /^Updates slowed to 2 s\./);
  slow.pace.stepped(1);
  assert.equal(said({}, slow).kind, "live");
});
