/** Faults that the real service does not produce on order: blindness, silence, holes, dropped frames, a broken store. Uses the stand-in. */
import assert from "node:assert/strict";
import { after, before, beforeEach, afterEach, describe, test } from "node:test";
import { encode } from "../web/wire.mjs";
import { FakeServer } from "./fake-server.mjs";
import { chip, open_on, row_of, skip_reason, start_browser, until } from "./harness.mjs";

describe("faults", { skip: skip_reason({ needs_binary: false }) }, () => {
  let browser, fake;
  before(async () => { browser = await start_browser(); });
  after(async () => { await browser?.close(); });
  beforeEach(async () => {
    fake = await new FakeServer({ offline_after_ms: 600_000 }).start();
    for (let i = 1; i <= 3; i++) fake.heartbeat({ customer: "acme", vehicle: `TRK-${i}` });
  });
  afterEach(async () => {
    await Promise.all(browser.contexts().map((context) => context.close()));
    await fake.stop();
  });

  async function open(path = "/", options = {}) {
    return (await open_on(fake, browser, path, options)).page;
  }

  test("blindness: said in grey, no vehicle is called offline, and it ends", async () => {
    const page = await open();
    fake.send({ type: "observation", listening: false, since: new Date().toISOString(), cause: "broker_link_down" });
    fake.set_status("acme", "TRK-1", "unobserved", "blind");
    await page.locator("#link-state", { hasText: "Not listening" }).waitFor();
    await page.locator("#proof", { hasText: "Test heartbeats come through in 93 ms" }).waitFor();
    await page.getByRole("status").filter({ hasText: /Rollcall itself was not listening since .* No vehicle is called offline for it/ }).waitFor();
    await row_of(page, "TRK-1").filter({ hasText: "Unobserved" }).waitFor();
    await chip(page, "Offline", 0).waitFor();
    const colour = await row_of(page, "TRK-1").locator(".status .first").evaluate((cell) => getComputedStyle(cell).color);
    const [red, green, blue] = colour.match(/\d+/g).map(Number);
    assert.ok(Math.max(red, green, blue) - Math.min(red, green, blue) < 40, `unobserved is grey, not ${colour}`);
    fake.send({ type: "observation", listening: true, since: new Date().toISOString() });
    await page.getByText("was not listening").waitFor({ state: "hidden" });
  });

  test("a server that falls silent is first stale, and then left", async () => {
    const page = await open("/", { prepare: (page) => page.clock.install() });
    const lost = page.getByRole("alert").filter({ hasText: "Connection lost" });
    await page.clock.pauseAt(Date.now() + 4_000); // from here on the page's time is the test's
    fake.mute();
    await page.clock.runFor(6_500);
    await page.getByRole("alert").filter({ hasText: "Values may be old" }).waitFor();
    await page.locator("#link-state", { hasText: "Stale" }).waitFor();
    for (let waited = 0; waited < 10_000 && !(await lost.isVisible()); waited += 200) await page.clock.runFor(200);
    await lost.waitFor();
    await page.clock.resume();
    await page.getByText(/^Up to date again/).waitFor();
  });

  test("what changed while away is counted", async () => {
    const page = await open();
    const { port } = fake;
    await fake.stop();
    await page.getByRole("alert").filter({ hasText: "Connection lost" }).waitFor();
    fake.set_status("acme", "TRK-1", "offline", "silence");
    fake.add("acme", "TRK-9");
    await fake.start(port);
    await page.getByText("Up to date again, 2 changes while away.").waitFor();
    await row_of(page, "TRK-9").waitFor();
  });

  test("a hole in the deltas: the page starts over instead of showing a wrong fleet", async () => {
    const page = await open();
    fake.mute();
    fake.set_status("acme", "TRK-2", "offline", "silence");
    fake.tick();
    fake.unmute();
    fake.heartbeat({ customer: "acme", vehicle: "TRK-1" });
    await row_of(page, "TRK-2").filter({ hasText: "Offline" }).waitFor();
    assert.equal(fake.snapshots, 2, "it asks for everything");
  });

  test("a frame that is cut short or wrong never shows: the page starts over", async () => {
    const page = await open();
    const frame = Buffer.from(encode("turned", [{ slot: 0, status: "offline" }], { from: fake.version, version: fake.version + 1 }));
    for (const bytes of [frame.subarray(0, 40), Buffer.concat([frame, frame])]) {
      const { snapshots } = fake;
      for (const socket of fake.sockets.clients) socket.send(bytes);
      await until("a new snapshot is fetched", () => fake.snapshots === snapshots + 1);
      await page.locator("#link-state[data-kind=live], #link-state[data-kind=caught-up]").waitFor();
      await chip(page, "Online", 3).waitFor();
    }
  });

  test("every delta is acknowledged", async () => {
    await open();
    fake.heartbeat({ customer: "acme", vehicle: "TRK-1" });
    await until("the newest version is acknowledged", () => fake.received.some(({ type, version }) => type === "ack" && version === fake.version));
  });

  test("dropped transitions are read by REST", async () => {
    const page = await open("/?v=acme/TRK-1");
    await page.locator("#drawer-transitions").getByText("Never seen → Online").waitFor();
    fake.mute();
    fake.set_status("acme", "TRK-1", "offline", "goodbye");
    fake.unmute();
    fake.send({ type: "gap", dropped: 1 });
    await page.locator("#drawer-transitions").getByText("it said goodbye").waitFor();
  });

  test("a broken store is said in the panel, the rest of the page lives on, and it can be tried again", async () => {
    fake.refuse_rest = true;
    const page = await open("/?v=acme/TRK-1");
    await page.getByRole("alert").filter({ hasText: "The transitions could not be read: the store does not answer" }).waitFor();
    fake.set_status("acme", "TRK-2", "offline", "silence");
    await row_of(page, "TRK-2").filter({ hasText: "Offline" }).waitFor();
    fake.refuse_rest = false;
    await page.locator("#drawer-trouble").getByRole("button", { name: "Try again" }).click();
    await page.locator("#drawer-transitions").getByText("Never seen → Online").waitFor();
  });

  test("a warning stands with its vehicle, and with no other", async () => {
    fake.warnings = [{ customer: "acme", vehicle: "TRK-2", kind: "flooding", detail: "speaks too often", count: 4 }];
    const page = await open("/?v=acme%2FTRK-2");
    await page.locator("#drawer-facts").getByText("speaks too often (4 times)").waitFor();
    await row_of(page, "TRK-1").click();
    await page.getByRole("heading", { name: "TRK-1" }).waitFor();
    await page.locator("#drawer-facts").getByText("speaks too often").waitFor({ state: "hidden" });
  });

  test("rows do not move under the pointer until asked to", async () => {
    const page = await open("/?sort=-status_since");
    await row_of(page, "TRK-1").hover();
    fake.add("acme", "AAA-1");
    await page.getByRole("button", { name: "Order paused. Update" }).click();
    await row_of(page, "AAA-1").waitFor();
  });

  test("a vehicle removed while the table is held leaves it at once", async () => {
    const page = await open();
    await page.getByRole("grid", { name: "Vehicles" }).focus();
    fake.remove("acme", "TRK-2");
    await row_of(page, "TRK-2").waitFor({ state: "hidden" });
    await chip(page, "All", 2).waitFor();
  });
});
