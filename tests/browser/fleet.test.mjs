/**
 * The dashboard against the real service: what is seen equals what is true, and changes without a reload.
 * Heartbeats go in through the public REST door; the page is driven as a user would.
 */
import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { beat, chip, keep_beating, open_page, row_of, skip_reason, start_browser, start_service, until, watch_start } from "./harness.mjs";

/** First rows have to be in sight within this time of opening the page; three times the target, for busy test machines. */
const FIRST_ROWS_MS = 3_000;
const TRUCKS = ["TRK-1", "TRK-2", "TRK-3"].map((vehicle) => ({ customer: "acme", vehicle }));
const VANS = ["VAN-1", "VAN-2"].map((vehicle) => ({ customer: "globex", vehicle, lat: 51.5, lon: -0.12, speed_kmh: 42 }));
const HOSTILE = `<img src=x onerror="window.hacked=1">`;

describe("the fleet page on the real service", { skip: skip_reason() }, () => {
  let service, browser, stop_beating;
  const opened = [];

  before(async () => {
    service = await start_service();
    browser = await start_browser();
    await beat(service.url, ...TRUCKS, ...VANS);
    stop_beating = keep_beating(service.url, [...TRUCKS, ...VANS]);
  });
  after(async () => {
    stop_beating?.();
    await browser?.close();
    await service?.kill();
  });

  // Pages left open would share the processor with those of the tests that follow.
  afterEach(() => Promise.all(browser.contexts().map((context) => context.close())));

  async function open(path = "/", options = {}) {
    const seen = await open_page(browser, service.url + path, options);
    opened.push(seen);
    return seen.page;
  }

  test("first rows are in sight soon, and the counts are right", async () => {
    const took_ms = [];
    let page;
    // A machine may be busy for seconds whenever it likes; the page may not be late three times.
    while (took_ms.length < 3 && !took_ms.some((ms) => ms < FIRST_ROWS_MS)) {
      page = await open("/", { prepare: (page) => page.addInitScript(watch_start) });
      await row_of(page, "TRK-1").waitFor();
      await page.waitForFunction(() => window.seen.first_rows > 0);
      took_ms.push(await page.evaluate(() => Math.round(window.seen.first_rows)));
    }
    assert.ok(took_ms.at(-1) < FIRST_ROWS_MS, `first rows after ${took_ms} ms`);
    await chip(page, "All", 5).waitFor();
    await chip(page, "Online", 5).waitFor();
    await chip(page, "Offline", 0).waitFor();
    await page.getByText("5 of 5").waitFor();
    await page.locator("#link-state", { hasText: "Live" }).waitFor();
  });

  test("counts and first rows come with the page, for the filters in its address; the snapshot only confirms them", async () => {
    const held = [];
    const prepare = (page) => page.route("**/api/v1/live/snapshot", (route) => { held.push(route); });
    const page = await open("/?customer=globex&sort=-vehicle", { prepare });
    const rows = () => page.locator("#rows [role=row]:visible .vehicle .first").allInnerTexts();
    await row_of(page, "VAN-2").filter({ hasText: "Online" }).waitFor();
    assert.deepEqual(await rows(), ["VAN-2", "VAN-1"]);
    await chip(page, "All", 2).waitFor();
    await page.getByText("2 of 5").waitFor();
    await page.getByRole("status").filter({ hasText: "Loading 5 vehicles" }).waitFor();
    assert.equal(await page.locator("#grid").getAttribute("aria-busy"), "true");
    await Promise.all(held.map((route) => route.continue()));
    await page.locator("#grid[aria-busy=false]").waitFor();
    assert.deepEqual(await rows(), ["VAN-2", "VAN-1"]);
    await page.getByText("2 of 5").waitFor();
  });

  test("a first heartbeat brings a vehicle in, silence turns it offline, a heartbeat brings it back; no reload", async () => {
    const page = await open();
    await page.evaluate(() => { window.not_reloaded = true; });
    await chip(page, "Online", 5).waitFor();
    const alone = [{ customer: "initech", vehicle: "LONE-1", lat: 48.2, lon: 16.4 }];
    const speaks = async () => { // a busy page may miss one that speaks but once
      const stop = keep_beating(service.url, alone);
      await row_of(page, "LONE-1").filter({ hasText: "Online" }).waitFor().finally(stop);
    };
    await beat(service.url, ...alone);
    await speaks();
    await row_of(page, "LONE-1").filter({ hasText: "Offline" }).waitFor();
    await chip(page, "Offline", 1).waitFor();
    await speaks();
    assert.equal(await page.evaluate(() => window.not_reloaded), true);
  });

  test("every row equals what REST says", async () => {
    const page = await open();
    await row_of(page, "TRK-1").waitFor();
    await until("rows equal REST", async () => {
      const { items, counts } = await (await fetch(`${service.url}/api/v1/vehicles?limit=1000`)).json();
      const rest = items.map(({ vehicle, customer, status }) => [vehicle, customer, status].join("|")).sort();
      const rows = await page.locator("#rows [role=row]:visible").evaluateAll((rows) => rows.map((row) => [
        row.querySelector(".vehicle .first").textContent, row.querySelector(".customer").textContent, row.dataset.status].join("|")).sort());
      const shown = await page.getByRole("group", { name: "Vehicles by status" }).innerText();
      const numbers = shown.match(/\d+/g).map(Number);
      return JSON.stringify(rest) === JSON.stringify(rows)
        && JSON.stringify(numbers.slice(1)) === JSON.stringify([counts.online, counts.offline, counts.unobserved, counts.never_seen]);
    });
  });

  test("filters by customer, status and text live in the address, and back undoes a choice", async () => {
    const page = await open();
    await row_of(page, "TRK-1").waitFor();
    await page.getByRole("combobox", { name: "Customer" }).selectOption("globex");
    await row_of(page, "TRK-1").waitFor({ state: "hidden" });
    await chip(page, "All", 2).waitFor();
    await chip(page, "Online").click();
    await page.getByRole("searchbox", { name: "Search" }).fill("van-2");
    await page.getByText(/^1 of /).waitFor();
    assert.equal(new URL(page.url()).search, "?status=online&customer=globex&q=van-2");

    await page.reload();
    await row_of(page, "VAN-2").waitFor();
    await page.getByText(/^1 of /).waitFor();
    assert.equal(await page.getByRole("searchbox", { name: "Search" }).inputValue(), "van-2");
    assert.equal(await chip(page, "Online").getAttribute("aria-pressed"), "true");

    await page.goBack(); // typing replaced the address, so back undoes the status button
    await row_of(page, "VAN-1").waitFor();
    assert.equal(new URL(page.url()).search, "?customer=globex");
    await page.getByRole("button", { name: "Clear filters" }).click();
    await row_of(page, "TRK-1").waitFor();
    assert.equal(new URL(page.url()).search, "");
  });

  test("a link is enough: a colleague sees the same rows, order, screen and panel, and what happens is seen in both", async () => {
    const mine = await open();
    await row_of(mine, "TRK-1").waitFor();
    await mine.getByRole("combobox", { name: "Customer" }).selectOption("globex");
    await mine.getByRole("combobox", { name: "Sort" }).selectOption("-vehicle");
    await mine.getByRole("button", { name: "Trends" }).click();
    await row_of(mine, "VAN-2").click();
    const theirs = await open(mine.url().slice(service.url.length));
    for (const page of [mine, theirs]) {
      await page.getByRole("dialog", { name: "VAN-2" }).waitFor();
      await page.getByRole("heading", { name: "Trends" }).waitFor();
      assert.deepEqual(await page.locator("#rows [role=row]:visible .vehicle .first").allInnerTexts(), ["VAN-2", "VAN-1"]);
    }
    await mine.mouse.move(0, 0); // rows do not move under the pointer
    await beat(service.url, { customer: "globex", vehicle: "VAN-3" });
    for (const page of [mine, theirs]) await row_of(page, "VAN-3").waitFor();
    const answer = await fetch(`${service.url}/api/v1/customers/globex/vehicles/VAN-3`, { method: "DELETE" });
    assert.equal(answer.status, 200);
    for (const page of [mine, theirs]) await row_of(page, "VAN-3").waitFor({ state: "hidden" });
  });

  test("when nothing matches it says so and offers the way out", async () => {
    const page = await open("/?q=no+such+vehicle");
    await page.getByRole("heading", { name: "No vehicle matches" }).waitFor();
    await page.locator("#no-match").getByRole("button", { name: "Clear filters" }).click();
    await row_of(page, "TRK-1").waitFor();
  });

  test("keyboard only: find the offline vehicle of one customer, open it, read why", async () => {
    await beat(service.url, { customer: "umbrella", vehicle: "QUIET-1" }, { customer: "umbrella", vehicle: "QUIET-2" });
    const page = await open();
    await chip(page, "Offline", "[1-9]\\d*").waitFor();
    await page.keyboard.press("/");
    await page.keyboard.type("quiet-2");
    await row_of(page, "QUIET-2").filter({ hasText: "Offline" }).waitFor();
    await page.keyboard.press("Tab"); // customer
    await page.keyboard.type("umb");
    for (let presses = 0; presses < 12 && await page.evaluate(() => document.activeElement.id) !== "grid"; presses++) await page.keyboard.press("Tab");
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("Enter");
    const drawer = page.getByRole("dialog", { name: "QUIET-2" });
    await drawer.getByText("Online → Offline").waitFor();
    await drawer.getByText(/no heartbeat/).waitFor();
    await drawer.getByText(/of silence, the default/).waitFor();
    assert.match(page.url(), /v=umbrella\/QUIET-2/);
    await page.keyboard.press("Escape");
    await drawer.waitFor({ state: "hidden" });
    assert.equal(await page.evaluate(() => document.activeElement.id), "grid");
  });

  test("an open panel hears the next transition", async () => {
    await beat(service.url, { customer: "initech", vehicle: "LONE-2" });
    const page = await open("/?v=initech/LONE-2");
    const list = page.locator("#drawer-transitions");
    await list.getByText("Never seen → Online").waitFor();
    await list.getByText("Online → Offline").waitFor();
    assert.match(await list.locator("li").first().innerText(), /Online → Offline/);
  });

  test("a hostile vehicle name is text", async () => {
    await beat(service.url, { customer: "acme", vehicle: HOSTILE.replaceAll("/", "") });
    const page = await open();
    await row_of(page, HOSTILE).click();
    await page.getByRole("dialog").getByRole("heading", { name: HOSTILE }).waitFor();
    await page.getByRole("dialog").getByText("Never seen → Online").waitFor();
    assert.equal(await page.evaluate(() => window.hacked), undefined);
    assert.equal(await page.locator("main img").count(), 0);
  });

  test("a real phone width: no sideways scrolling, status and age in sight", async () => {
    const page = await open("/", { width: 390, height: 844 });
    await row_of(page, "TRK-1").waitFor();
    const sideways = await page.evaluate(() => [document.documentElement, document.body, document.getElementById("grid")]
      .map((each) => each.scrollWidth - each.clientWidth));
    assert.deepEqual(sideways, [0, 0, 0]);
    await row_of(page, "TRK-1").filter({ hasText: /Online.*ago/s }).waitFor();
    await row_of(page, "TRK-1").click();
    const box = await page.getByRole("dialog", { name: "TRK-1" }).boundingBox();
    assert.deepEqual([box.width, box.height], [390, 844]);
  });

  test("the theme is chosen by hand and remembered", async () => {
    const page = await open("/", { colorScheme: "dark" });
    const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const dark = await ground();
    await page.getByRole("button", { name: "Theme: system" }).click();
    await page.getByRole("button", { name: "Theme: dark" }).click();
    await page.getByRole("button", { name: "Theme: light" }).waitFor();
    const light = await ground();
    assert.notEqual(light, dark);
    await page.reload();
    assert.equal(await ground(), light);
  });

  test("no page asked another host for anything, and none had an error", () => {
    assert.ok(opened.length > 0);
    const hosts = new Set(opened.flatMap(({ requests }) => requests).map((url) => new URL(url).host));
    assert.deepEqual([...hosts], [new URL(service.url).host]);
    assert.deepEqual(opened.flatMap(({ errors }) => errors), []);
  });
});
