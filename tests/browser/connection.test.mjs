/** The real service disappears and comes back: the page says so, and shows the truth again without a reload. */
import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { beat, chip, equals_rest, live_wire, open_page, row_of, skip_reason, start_browser, start_service, until } from "./harness.mjs";

const in_time = ({ banner_ms, live_ms }) => banner_ms < 1_000 && live_ms < 2_000;

/** Notes each state of the connection that the page says, and when: from outside one would look too seldom. */
function watch_link() {
  window.seen = [];
  let kind = "";
  const look = () => {
    const now = document.getElementById("link-state")?.dataset.kind ?? "";
    if (now !== kind) window.seen.push({ kind: (kind = now), at: Date.now() });
  };
  new MutationObserver(look).observe(document, { subtree: true, childList: true, attributes: true, attributeFilter: ["data-kind"] });
}

describe("losing the real service", { skip: skip_reason() }, () => {
  let browser, service;
  before(async () => { browser = await start_browser(); });
  afterEach(() => Promise.all(browser.contexts().map((context) => context.close())));
  after(async () => {
    await browser?.close();
    await service?.kill();
  });

  test("an empty fleet explains how to send the first heartbeat, and ends with it", async () => {
    service = await start_service({ offline_after: "60s" });
    const { page } = await open_page(browser, service.url);
    await page.getByRole("heading", { name: "No vehicles yet" }).waitFor();
    await page.getByText("mosquitto_pub -h 127.0.0.1 -p 1883 -t fleet/acme/TRK-1/heartbeat -m '{}'").waitFor();
    await page.getByText("simulator --broker mqtt://127.0.0.1:1883 --vehicles 200 --interval 2s").waitFor();
    await beat(service.url, { customer: "acme", vehicle: "TRK-1" });
    await row_of(page, "TRK-1").waitFor();
    await page.getByRole("heading", { name: "No vehicles yet" }).waitFor({ state: "hidden" });
  });

  test("killed: a banner within a second; back on the same port: live again within two, with the new truth", async () => {
    const { page, errors } = await open_page(browser, service.url, { prepare: (page) => page.addInitScript(watch_link) });
    await chip(page, "Online", 1).waitFor();
    // Without a graphics card the start of the map holds the page up for most of a second: that is not what is timed here.
    await page.locator("#map[data-state=ready]").waitFor();
    await page.locator("#fleet-chart canvas").waitFor();
    const lost = page.getByRole("alert").filter({ hasText: "Connection lost" });
    const { port } = service;
    const times = [];
    // The machine may stop for a second whenever it likes; the page may not do so three times.
    for (let attempt = 0; attempt < 3 && !times.some(in_time); attempt++) {
      const killed = Date.now();
      await service.kill();
      await lost.waitFor();
      await page.getByText(/Retrying in \d+ s|Connecting …/).waitFor();
      await row_of(page, "TRK-1").waitFor(); // the last known fleet stays in sight
      service = await start_service({ port, offline_after: "60s" });
      const back = Date.now();
      await beat(service.url, { customer: "acme", vehicle: "TRK-1" });
      await lost.waitFor({ state: "hidden" });
      await row_of(page, "TRK-1").waitFor();
      const seen = await page.evaluate(() => window.seen.splice(0));
      const lost_at = seen.find(({ kind, at }) => kind === "lost" && at >= killed)?.at;
      const live_at = seen.find(({ kind, at }) => ["live", "caught-up"].includes(kind) && at >= back)?.at;
      times.push({ banner_ms: lost_at - killed, live_ms: live_at - back });
    }
    console.log(`banner and live again: ${JSON.stringify(times)}`);
    assert.ok(times.some(in_time), JSON.stringify(times));

    await service.kill();
    await lost.waitFor();
    service = await start_service({ port, offline_after: "60s" });
    await beat(service.url, { customer: "acme", vehicle: "TRK-2" });
    await row_of(page, "TRK-2").waitFor();
    await row_of(page, "TRK-1").waitFor({ state: "hidden" }); // its memory went with the old process: a snapshot replaces
    await lost.waitFor({ state: "hidden" });
    await chip(page, "Online", 1).waitFor();
    assert.deepEqual(errors, []);
  });

  test("cut off for a moment: it resumes with what changed, not with everything", async () => {
    const wire = live_wire();
    const { page, requests } = await open_page(browser, service.url, { prepare: wire.lay });
    await row_of(page, "TRK-2").waitFor();
    await page.locator("#link-state[data-kind=live]").waitFor();
    // Their start may hold up the page for longer than the service waits for a resume.
    await page.locator("#map[data-state=ready]").waitFor();
    await page.locator("#fleet-chart canvas").waitFor();
    const [first] = wire.connections;
    await first.cut();
    await beat(service.url, { customer: "acme", vehicle: "TRK-3" });
    await row_of(page, "TRK-3").waitFor();
    const second = wire.connections.at(-1);
    const { epoch } = first.received.find(({ type }) => type === "hello");
    assert.deepEqual([second.sent[0].type, second.sent[0].epoch], ["resume", epoch]);
    assert.equal(second.received.some(({ type, refused }) => type === "resync" && refused), false);
    assert.equal(requests.filter((url) => url.endsWith("/live/snapshot")).length, 1, "the one of the first load");
    await page.getByText(/^Up to date again/).waitFor();
    await chip(page, "All", 2).waitFor();
  });

  test("a vehicle deleted while the page was away is gone when it is back, and nothing is fetched anew for it", async () => {
    const wire = live_wire();
    const { page, requests } = await open_page(browser, service.url, { prepare: wire.lay });
    await row_of(page, "TRK-3").waitFor();
    // The first rows may be newer than the snapshot: what is between them comes with the first frames.
    await until("the page is followed", () => wire.connections.at(-1)?.received.some(({ type }) => type === "counts"));
    await chip(page, "All", 2).waitFor();
    await row_of(page, "TRK-3").waitFor();
    wire.down = true;
    await wire.connections.at(-1).cut();
    await page.getByRole("alert").filter({ hasText: "Connection lost" }).waitFor();
    const answer = await fetch(`${service.url}/api/v1/customers/acme/vehicles/TRK-3`, { method: "DELETE" });
    assert.equal(answer.status, 200);
    await row_of(page, "TRK-3").waitFor(); // nobody has told the page yet
    wire.down = false;
    await row_of(page, "TRK-3").waitFor({ state: "hidden" });
    await page.getByText("Up to date again, 1 change while away.").waitFor();
    await equals_rest(page, service.url);
    assert.equal(requests.filter((url) => url.endsWith("/live/snapshot")).length, 1, "the one of the first load");
    await beat(service.url, { customer: "acme", vehicle: "TRK-3" }); // for the tests that follow
    await row_of(page, "TRK-3").waitFor();
  });

  test("frames lost on the way, and connections cut: every row of the page ends as REST tells it", async () => {
    const row = (number, round) => ({ customer: `c${number % 3}`, vehicle: `V${number}`, lat: number / 10, lon: -round / 8, speed_kmh: round, battery_pct: number % 100 });
    const rows = (from, to, round) => Array.from({ length: to - from }, (_, at) => row(from + at, round));
    await beat(service.url, ...rows(0, 400, 0));
    let frames = 0;
    let lost = 0;
    const lose = ({ type }) => ["joined", "turned", "heard"].includes(type) && ++frames % 4 === 2 && ++lost > 0;
    const wire = live_wire({ lose });
    const { page, errors } = await open_page(browser, service.url, { prepare: wire.lay });
    for (let round = 1; round <= 12; round++) {
      await beat(service.url, ...rows(round * 20, round * 60, round));
      await page.waitForFunction((start) => performance.now() - start > 300, await page.evaluate(() => performance.now())); // a tick or more
      if (round % 5 === 0) await wire.connections.at(-1).cut();
    }
    assert.ok(lost > 0 && wire.connections.length > 2, `${lost} of ${frames} frames lost, ${wire.connections.length} connections`);
    frames = -1_000_000; // the path is sound again
    await beat(service.url, ...rows(0, 10, 99));
    await equals_rest(page, service.url);
    assert.deepEqual(errors, []);
  });

  test("killed and back with another fleet: every row of the page equals REST, and what is gone is gone", async () => {
    const { page } = await open_page(browser, service.url);
    await equals_rest(page, service.url);
    const { port } = service;
    await service.kill();
    await page.getByRole("alert").filter({ hasText: "Connection lost" }).waitFor();
    service = await start_service({ port, offline_after: "60s" });
    const list = Array.from({ length: 3_000 }, (_, at) => ({ customer: `c${at % 7}`, vehicle: `W${at}`, lat: at / 50, lon: at / 25 }));
    for (let from = 0; from < list.length; from += 1_000) await beat(service.url, ...list.slice(from, from + 1_000));
    await beat(service.url, { customer: "acme", vehicle: "TRK-2" }, { customer: "acme", vehicle: "TRK-3" });
    await page.getByText("3,002 of 3,002").waitFor();
    await equals_rest(page, service.url);
  });

  test("stopped politely: the reason is shown", async () => {
    const { page } = await open_page(browser, service.url);
    await page.locator("#link-state[data-kind=live]").waitFor();
    service.child.kill("SIGTERM");
    await page.getByRole("alert").filter({ hasText: /server closed the connection \(.+\)/ }).waitFor();
  });
});
