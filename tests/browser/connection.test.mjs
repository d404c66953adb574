/** The real service disappears and comes back: the page says so, and shows the truth again without a reload. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { beat, chip, live_wire, open_page, row_of, skip_reason, start_browser, start_service } from "./harness.mjs";

describe("losing the real service", { skip: skip_reason() }, () => {
  let browser, service;
  before(async () => { browser = await start_browser(); });
  after(async () => {
    await browser?.close();
    await service?.kill();
  });

  test("an empty fleet explains how to send the first heartbeat, and ends with it", async () => {
    service = await start_service({ offline_after: "60s" });
    const { page } = await open_page(browser, service.url);
    await page.getByRole("heading", { name: "No vehicles yet" }).waitFor();
    await page.getByText("mosquitto_pub -h 127.0.0.1 -p 1883 -t fleet/acme/TRK-1/heartbeat -m '{}'").waitFor();
    await beat(service.url, { customer: "acme", vehicle: "TRK-1" });
    await row_of(page, "TRK-1").waitFor();
    await page.getByRole("heading", { name: "No vehicles yet" }).waitFor({ state: "hidden" });
  });

  test("killed: a banner within a second; back on the same port: live again with the new truth", async () => {
    const { page, errors } = await open_page(browser, service.url);
    await chip(page, "Online", 1).waitFor();
    // Without a graphics card the start of the map holds the page up for most of a second: that is not what is timed here.
    await page.locator("#map[data-state=ready]").waitFor();
    const { port } = service;
    await service.kill();
    const lost = page.getByRole("alert").filter({ hasText: "Connection lost" });
    await lost.waitFor({ timeout: 1_000 });
    await page.getByText(/Retrying in \d+ s|Connecting …/).waitFor();
    await row_of(page, "TRK-1").waitFor(); // the last known fleet stays in sight

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
    const { page } = await open_page(browser, service.url, { prepare: wire.lay });
    await row_of(page, "TRK-2").waitFor();
    await page.locator("#map[data-state=ready]").waitFor(); // its start may hold up the page for longer than the service waits
    const [first] = wire.connections;
    await first.cut();
    await beat(service.url, { customer: "acme", vehicle: "TRK-3" });
    await row_of(page, "TRK-3").waitFor();
    const second = wire.connections.at(-1);
    const { epoch } = first.received.find(({ type }) => type === "hello");
    assert.deepEqual([second.sent[0].type, second.sent[0].epoch], ["resume", epoch]);
    assert.equal(second.received.some(({ type }) => type === "snapshot"), false);
    await page.getByText(/^Up to date again/).waitFor();
    await chip(page, "All", 2).waitFor();
  });

  test("stopped politely: the reason is shown", async () => {
    const { page } = await open_page(browser, service.url);
    await chip(page, "Online", 2).waitFor();
    service.child.kill("SIGTERM");
    await page.getByRole("alert").filter({ hasText: /server closed the connection \(.+\)/ }).waitFor();
  });
});
