/** The screens beside the list, and the states of the page: each is brought about with the stand-in and looked for as a user would. */
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { FakeServer } from "./fake-server.mjs";
import { chip, open_on, open_page, row_of, skip_reason, start_browser, until, violations } from "./harness.mjs";

const MINUTE = 60_000;
const LOOKS = {
  "dark": { colorScheme: "dark" },
  "light": { colorScheme: "light" },
  "dark tablet": { colorScheme: "dark", width: 900, height: 800 },
  "light tablet": { colorScheme: "light", width: 900, height: 800 },
  "dark phone": { colorScheme: "dark", width: 390, height: 844 },
  "light phone": { colorScheme: "light", width: 390, height: 844 },
};

describe("screens and states", { skip: skip_reason({ needs_binary: false }) }, () => {
  let browser, fake;
  before(async () => { browser = await start_browser(); });
  after(async () => { await browser?.close(); });
  beforeEach(async () => {
    fake = await new FakeServer({ offline_after_ms: 600_000 }).start();
    for (let i = 1; i <= 3; i++) fake.heartbeat({ customer: i === 3 ? "globex" : "acme", vehicle: `TRK-${i}`, lat: 50 + i, lon: 4 });
  });
  afterEach(async () => {
    await Promise.all(browser.contexts().map((context) => context.close()));
    await fake.stop();
  });

  async function open(path = "/", options = {}) {
    const { page, errors } = await open_on(fake, browser, path, options);
    page.errors = errors;
    return page;
  }

  /** A page that cannot have this file while `away` says so, and whose time the test may hasten. */
  const without = (file, away) => async (page) => {
    await page.clock.install();
    await page.route(`**/js/${file}`, (route) => (away() ? route.abort() : route.continue()));
  };
  const alerts = (page) => page.locator("#alerts-list li");
  const unread = (page) => page.locator("#unread").innerText();

  describe("alerts", () => {
    test("what happened before and what happens now are one list, newest first, with cause and severity", async () => {
      fake.set_status("acme", "TRK-1", "offline", "silence");
      const page = await open("/?view=alerts");
      await alerts(page).filter({ hasText: /TRK-1.*Alert Online → Offline/s }).waitFor();
      fake.set_status("globex", "TRK-3", "offline", "last_will");
      await alerts(page).first().filter({ hasText: /TRK-3.*its connection broke/s }).waitFor();
      await until("both are unread", async () => (await unread(page)) === "2");
      await page.getByText("still offline").first().waitFor();
      await page.getByRole("button", { name: "All changes" }).click();
      await alerts(page).filter({ hasText: /TRK-2.*Recovery Never seen → Online/s }).waitFor();
      assert.deepEqual(page.errors, []);
    });

    test("an acknowledged alert is acknowledged in the other tab and after a reload; a new one counts again", async () => {
      fake.set_status("acme", "TRK-1", "offline", "silence");
      fake.set_status("acme", "TRK-2", "offline", "silence");
      const page = await open("/?view=alerts");
      await until("two are unread", async () => (await unread(page)) === "2");
      const other = await page.context().newPage();
      await other.goto(`${fake.url}/?view=alerts`);
      await until("two there as well", async () => (await unread(other)) === "2");
      await page.getByRole("button", { name: "Acknowledge TRK-1" }).click();
      await until("one is left, in both", async () => (await unread(page)) === "1" && (await unread(other)) === "1");
      await page.getByRole("button", { name: "Acknowledge all" }).click();
      await until("none is left", async () => (await unread(page)) === "");
      await page.reload();
      await alerts(page).first().waitFor();
      assert.equal(await unread(page), "");
      fake.set_status("globex", "TRK-3", "offline", "silence");
      await until("a new one counts", async () => (await unread(page)) === "1");
    });

    test("a blind spot of ours and a planned goodbye are no alerts, and nothing about them is red", async () => {
      const page = await open("/?view=alerts");
      fake.set_status("acme", "TRK-1", "unobserved", "blind");
      fake.set_status("acme", "TRK-2", "offline", "goodbye");
      await page.getByText("No alerts. All is well.").waitFor();
      await page.getByRole("button", { name: "All changes" }).click();
      const blind = alerts(page).filter({ hasText: "TRK-1" }).filter({ hasText: "Unobserved" });
      await blind.getByText("Rollcall itself was not listening").waitFor();
      const colour = await blind.locator(".severity").evaluate((each) => getComputedStyle(each).color);
      const [red, green, blue] = colour.match(/\d+/g).map(Number);
      assert.ok(Math.max(red, green, blue) - Math.min(red, green, blue) < 40, `grey, not ${colour}`);
      assert.equal(await unread(page), "");
    });

    test("the customer filter holds for alerts too", async () => {
      fake.set_status("acme", "TRK-1", "offline", "silence");
      fake.set_status("globex", "TRK-3", "offline", "silence");
      const page = await open("/?view=alerts&customer=globex");
      await alerts(page).filter({ hasText: "TRK-3" }).waitFor();
      assert.equal(await alerts(page).count(), 1);
      assert.equal(await unread(page), "1");
    });

    test("a thousand events are read aloud as one sentence, and the next one five seconds later", async () => {
      for (let i = 0; i < 1_000; i++) fake.heartbeat({ customer: "acme", vehicle: `BUS-${i}` });
      const page = await open("/", { prepare: (page) => page.clock.install() });
      await chip(page, "Online", "1,003").waitFor();
      const said = () => page.locator("#announcement").textContent();
      const heard = (offline) => until(`${offline} are heard of`, () => page.evaluate(async (offline) => (await import("/js/app.js")).state.fleet.tally[1] === offline, offline));
      await page.clock.pauseAt(Date.now() + 10_000); // from here on its time is the test's; longer, and it would take the socket for dead
      await page.evaluate(() => { document.getElementById("announcement").textContent = ""; });
      for (let i = 0; i < 1_000; i++) fake.set_status("acme", `BUS-${i}`, "offline", "silence");
      await heard(1_000);
      assert.equal(await said(), "", "not one an event");
      await page.clock.runFor(2_500);
      assert.equal(await said(), "1,000 vehicles went offline.");
      fake.set_status("acme", "TRK-1", "offline", "silence");
      await heard(1_001);
      await page.clock.runFor(2_500);
      assert.equal(await said(), "1,000 vehicles went offline.", "not yet");
      await page.clock.runFor(4_000);
      assert.equal(await said(), "TRK-1 went offline.");
    });

    test("an alert opens its vehicle; dropped frames are read again by REST", async () => {
      const page = await open("/?view=alerts");
      fake.mute();
      fake.set_status("acme", "TRK-2", "offline", "silence");
      fake.unmute();
      fake.send({ type: "gap", dropped: 1 });
      await alerts(page).getByRole("button", { name: "TRK-2", exact: true }).click();
      await page.getByRole("dialog", { name: "TRK-2" }).waitFor();
      await page.getByRole("button", { name: "About" }).click();
      await page.locator("#about-connection").getByText("1 (read again by REST)").waitFor();
    });
  });

  describe("trends and the chart", () => {
    test("an hour, a day and a week: drawn, said in words, and as a table; gaps are gaps, and grey is explained", async () => {
      const now = Date.now();
      fake.gaps = [{ scope: "process", from: new Date(now - 40 * MINUTE).toISOString(), to: new Date(now - 30 * MINUTE).toISOString(), cause: "stopped" }];
      const page = await open("/?view=trends");
      await page.getByText(/All customers, the last hour: online now 3, least 3, most 10; offline now 0/).waitFor();
      await page.getByText("Grey: Rollcall itself could not listen, 10 min in all.").waitFor();
      await page.locator("#trends-chart canvas").waitFor();
      await page.getByRole("button", { name: "Show as table" }).click();
      const rows = page.locator("#trends-rows tr");
      await until("minutes in the table", async () => (await rows.count()) > 40);
      assert.ok(await rows.filter({ hasText: /–.*–.*–/s }).count() >= 8, "minutes in which nobody listened say nothing");
      await page.getByRole("button", { name: "7 d" }).click();
      await page.getByText(/the last 7 days: online now 10, least 10, most 10/).waitFor();
      await page.getByRole("button", { name: "24 h" }).click();
      await page.getByText(/the last 24 hours/).waitFor();
      assert.deepEqual(page.errors, []);
    });

    test("dragging zooms in, and one click shows everything again", async () => {
      const page = await open("/?view=trends");
      const over = page.locator("#trends-chart .u-over");
      await over.waitFor();
      const box = await over.boundingBox();
      await page.mouse.move(box.x + box.width * 0.3, box.y + 50);
      await page.mouse.down();
      await page.mouse.move(box.x + box.width * 0.6, box.y + 50, { steps: 5 });
      await page.mouse.up();
      await page.getByRole("button", { name: "Whole period" }).click();
      await page.getByRole("button", { name: "Whole period" }).waitFor({ state: "hidden" });
    });

    test("the series differ in their dash, not only in their colour", async () => {
      const page = await open("/?view=trends");
      await page.locator("#trends-chart .u-marker").nth(2).waitFor();
      const styles = await page.locator("#trends-chart .u-legend .u-series .u-marker").evaluateAll((all) => all.map((each) => each.style.border.split(" ").find((word) => /solid|dashed|dotted/.test(word))));
      assert.deepEqual(styles.filter(Boolean).slice(-3), ["solid", "dashed", "dotted"]);
    });

    test("counts that cannot be read are said in their place, and can be tried again", async () => {
      const page = await open("/?view=trends");
      await page.getByText(/the last hour/).first().waitFor();
      fake.refuse_rest = true;
      await page.getByRole("button", { name: "7 d" }).click();
      await page.locator("#trends-trouble").getByText("the store does not answer").waitFor();
      fake.refuse_rest = false;
      await page.locator("#trends-trouble").getByRole("button", { name: "Try again" }).click();
      await page.locator("#trends-trouble").waitFor({ state: "hidden" });
    });

    test("the chart under the map counts what is online, can be folded, and is not in the way on a tablet or a phone", async () => {
      const page = await open();
      await page.locator("#fleet-chart canvas").waitFor();
      await page.getByRole("img", { name: /Vehicles online over the last hour: now 3, least 3, most 10/ }).waitFor();
      await page.locator("#fleet-chart-now", { hasText: "3 online" }).waitFor();
      const chart = page.locator("#fleet-chart canvas");
      const fold = page.getByRole("button", { name: "Online, last hour" });
      await fold.click();
      await chart.waitFor({ state: "hidden" });
      await page.locator("#chart-fold[aria-expanded=false]").click();
      await chart.waitFor();
      await page.reload();
      await page.setViewportSize({ width: 900, height: 800 });
      await page.locator("#fleet-chart-now", { hasText: "3 online" }).waitFor();
      await chart.waitFor({ state: "hidden" });
      await fold.click();
      await chart.waitFor();
      await page.setViewportSize({ width: 390, height: 844 });
      await page.locator("#chart-pane").waitFor({ state: "hidden" });
    });
  });

  describe("the panel", () => {
    test("the day as a strip with a spoken summary, availability with its rule, evidence, and the facts as they came", async () => {
      fake.set_status("acme", "TRK-1", "offline", "silence");
      Object.assign(fake.transitions.get("acme/TRK-1")[0].evidence, { deadline: new Date().toISOString(), offline_after_ms: 90_000, policy_source: "customer", usual_gap_ms: 5_200 });
      const page = await open("/?v=acme/TRK-1");
      const panel = page.getByRole("dialog", { name: "TRK-1" });
      await panel.getByRole("img", { name: /^Since it was first heard, .*: (online|offline) / }).waitFor();
      await panel.getByText("99.87 %").first().waitFor();
      assert.equal(await panel.getByText("99.87 %").count(), 3);
      await panel.getByText("2 outages, longest 4 min; unobserved 1 min").first().waitFor();
      await panel.getByText("Online ÷ (online + offline).").waitFor();
      await panel.getByText(/last heard .*, deadline .* \(1 min 30 s, set for its customer\)/).waitFor();
      await panel.getByText("10 min of silence, the default; it usually sends every 5 s").waitFor();
      await panel.getByText("All facts as JSON").click();
      await panel.locator("#drawer-raw", { hasText: `"vehicle": "TRK-1"` }).waitFor();
      assert.deepEqual(page.errors, []);
    });

    test("silence while Rollcall itself was deaf is grey in the strip", async () => {
      fake.set_status("acme", "TRK-1", "unobserved", "blind");
      const page = await open("/?v=acme/TRK-1");
      const rect = page.locator("#drawer-strip rect[data-status=unobserved]");
      await rect.waitFor({ state: "attached" });
      const [red, green, blue] = (await rect.evaluate((each) => getComputedStyle(each).fill)).match(/\d+/g).map(Number);
      assert.ok(Math.max(red, green, blue) - Math.min(red, green, blue) < 40);
    });

    test("the link is copied, or offered where the browser forbids that", async () => {
      const page = await open("/?v=acme/TRK-1");
      await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
      await page.getByRole("button", { name: "Copy link" }).click();
      await page.getByText("Link copied.").waitFor();
      assert.equal(await page.evaluate(() => navigator.clipboard.readText()), `${fake.url}/?v=acme/TRK-1`);
      await page.evaluate(() => { navigator.clipboard.writeText = () => Promise.reject(new Error("forbidden")); });
      await page.getByRole("button", { name: "Copy link" }).click();
      assert.equal(await page.getByLabel("Link to this vehicle").inputValue(), `${fake.url}/?v=acme/TRK-1`);
    });
  });

  describe("states", () => {
    test("loading says how many vehicles are on their way, and the first rows are there", async () => {
      const there = fake.hold_snapshots();
      const { page } = await open_page(browser, fake.url);
      await row_of(page, "TRK-1").waitFor();
      await page.getByRole("status").filter({ hasText: "Loading 3 vehicles" }).waitFor();
      assert.equal(await page.locator("#grid").getAttribute("aria-busy"), "true");
      there();
      await page.locator("#link-state", { hasText: /^Live, \d+\.\d s behind$/ }).waitFor();
    });

    test("a store that is down is named in red, with what is unaffected; it ends by itself", async () => {
      const page = await open("/", { prepare: (page) => page.clock.install() });
      fake.store = { kind: "postgres", ok: false, spool_rows: 1_200 };
      await page.clock.fastForward(5_000); // it is looked at this often
      await page.getByRole("alert").filter({ hasText: "The postgres store takes no writes; 1,200 transitions wait on disk and are written later. Live status is not affected" }).waitFor();
      assert.equal(await page.locator("#banner").getAttribute("data-kind"), "degraded");
      fake.store = { kind: "postgres", ok: true, spool_rows: 0 };
      await page.clock.fastForward(5_000);
      await page.getByText("takes no writes").waitFor({ state: "hidden" });
    });

    test("updates that come seldom are said, while the values stay the newest", async () => {
      const page = await open();
      for (let round = 0; round < 4; round++) {
        fake.version += 9; // as if ticks had been left out for this page
        fake.send_bytes("heard", [fake.vehicles.get("acme/TRK-1")], { from: 1, version: fake.version });
      }
      await page.getByRole("status").filter({ hasText: /^Updates slowed to \d+ s\. This page or its connection is slower/ }).waitFor();
    });

    test("a page of an older version offers to reload", async () => {
      const page = await open();
      const { port } = fake;
      await fake.stop();
      fake.service = "1.3.0";
      await fake.start(port);
      await page.getByText("Dashboard was updated to version 1.3.0. This page is of 1.2.3.").waitFor();
      await page.getByRole("button", { name: "Reload" }).click();
      await page.getByText("Dashboard was updated").waitFor({ state: "hidden" });
      await row_of(page, "TRK-1").waitFor();
    });

    test("a page of another build of the same version offers to reload too", async () => {
      const page = await open();
      const { port } = fake;
      await fake.stop();
      Object.assign(fake, { web_files: "b2", epoch: `${fake.epoch}-again` });
      await fake.start(port);
      await page.getByText("Dashboard was updated. This page is of an older build.").waitFor();
      await page.getByRole("button", { name: "Reload" }).click();
      await page.getByText("Dashboard was updated").waitFor({ state: "hidden" });
      await row_of(page, "TRK-1").waitFor();
    });

    for (const [status, words] of [[401, "You are not signed in"], [403, "This account may not see the live fleet"]]) {
      test(`${status}: it says so and leads to the sign-in, and what is there stays`, async () => {
        const page = await open("/?customer=acme");
        const { port } = fake;
        await fake.stop();
        fake.refuse_all = status;
        await fake.start(port);
        await page.getByRole("alert").filter({ hasText: words }).waitFor();
        await row_of(page, "TRK-1").waitFor();
        await row_of(page, "TRK-1").click();
        await page.locator("#drawer-trouble").getByRole("link", { name: "Sign in" }).waitFor();
        await page.locator("#banner").getByRole("button", { name: "Sign in" }).click();
        await page.waitForURL(`${fake.url}/login?next=*`);
        assert.match(decodeURIComponent(page.url()), /next=\/\?customer=acme&v=acme\/TRK-1$/);
      });
    }

    test("a tag is chosen from those there are, lives in the address, and its list follows the fleet", async () => {
      fake.add("acme", "TRK-1", { tags: ["reefer", "north"] });
      fake.add("globex", "TRK-3", { tags: ["reefer"] });
      const page = await open();
      const tag = page.getByRole("combobox", { name: "Tag" });
      assert.deepEqual(await tag.locator("option").allInnerTexts(), ["All tags", "north", "reefer"]);
      await tag.selectOption("reefer");
      await page.getByText("2 of 3").waitFor();
      await row_of(page, "TRK-2").waitFor({ state: "hidden" });
      assert.match(page.url(), /tag=reefer/);
      fake.remove("acme", "TRK-1");
      await until("a tag nobody has is gone", async () => (await tag.locator("option").allInnerTexts()).join() === "All tags,reefer");
    });

    test("without its script the page says where the fleet can be read", async () => {
      const hasten = async (page) => { // it comes into sight by a style, after five seconds
        const session = await page.context().newCDPSession(page);
        await session.send("Animation.enable");
        await session.send("Animation.setPlaybackRate", { playbackRate: 20 });
      };
      const broken = (page) => Promise.all([hasten(page), page.route("**/js/columns.js", (route) => route.abort())]);
      const { page } = await open_page(browser, fake.url, { prepare: broken });
      await page.getByRole("link", { name: "/api/v1/vehicles" }).waitFor();
      const none = await open_page(browser, fake.url, { javaScriptEnabled: false, prepare: hasten });
      await none.page.getByText("The dashboard did not start.").waitFor();
    });

    test("a part that cannot be loaded says so in its place, the list lives on, and it is there once it can be had", async () => {
      let away = true;
      const page = await open("/?view=trends", { prepare: without("trends.js", () => away) });
      await page.getByText("This part could not be loaded. Trying again …").waitFor();
      fake.set_status("acme", "TRK-2", "offline", "silence");
      await row_of(page, "TRK-2").filter({ hasText: "Offline" }).waitFor();
      away = false;
      await page.clock.fastForward(5_000);
      await page.getByText(/the last hour: online/).waitFor();
      await page.getByText("This part could not be loaded").waitFor({ state: "hidden" });
    });

    test("a service that is away while the panes are fetched costs no more than the wait", async () => {
      let away = true;
      const { page } = await open_page(browser, `${fake.url}/?v=acme/TRK-1`, { prepare: without("panes.js", () => away) });
      await page.getByText("Only the list could be loaded. Trying again …").waitFor();
      away = false;
      await page.clock.fastForward(5_000);
      await page.getByRole("dialog", { name: "TRK-1" }).waitFor();
      await page.getByText("Only the list could be loaded").waitFor({ state: "hidden" });
    });

    test("keys: m leads to the map, ? to what this is, and neither while one is writing", async () => {
      const page = await open();
      await page.keyboard.press("?");
      await page.getByRole("heading", { name: "About Rollcall" }).waitFor();
      assert.match(page.url(), /view=about/);
      await page.keyboard.press("m");
      assert.match(page.url(), /view=map/);
      await page.keyboard.press("/");
      await page.keyboard.type("m?");
      await page.getByText("0 of 3", { exact: true }).waitFor();
      assert.match(page.url(), /view=map/);
    });
  });

  test("about names every library with its licence, the version, and the connection", async () => {
    const page = await open("/?view=about");
    for (const library of ["maplibre-gl 6.17.0", "uplot 1.6.32", "pmtiles 4.5.0", "Natural Earth"]) await page.locator("#about-licences").getByText(library).waitFor();
    for (const address of await page.locator("#about-licences a").evaluateAll((links) => links.map((link) => link.href))) {
      assert.ok((await fetch(address)).ok, address);
    }
    await page.locator("#about-service").getByText("1.2.3").waitFor();
    await page.locator("#about-connection").getByText("rollcall.v1.bin").waitFor();
    await page.locator("#about-connection").getByText(fake.epoch).waitFor();
  });

  for (const [look, options] of Object.entries(LOOKS)) {
    test(`axe finds nothing on any screen: ${look}`, async () => {
      fake.set_status("acme", "TRK-1", "offline", "silence");
      fake.add("acme", "TRK-2", { tags: ["reefer"] });
      const page = await open("/?view=alerts", options);
      await alerts(page).first().waitFor();
      assert.deepEqual(await violations(page), [], "alerts");
      await page.getByRole("button", { name: "Trends" }).click();
      await page.getByText(/the last hour: online/).waitFor();
      await page.getByRole("button", { name: "Show as table" }).click();
      assert.deepEqual(await violations(page), [], "trends");
      await page.getByRole("button", { name: "About" }).click();
      await page.locator("#about-licences a").first().waitFor();
      assert.deepEqual(await violations(page), [], "about");
      await page.goto(`${fake.url}/?v=acme/TRK-1`);
      await page.locator("#drawer-transitions li").first().waitFor();
      await page.getByText("All facts as JSON").click();
      assert.deepEqual(await violations(page), [], "the panel");
      const sideways = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      assert.equal(sideways, 0);
    });
  }
});
