/**
 * The page of exports: an order is composed, followed while it is written, fetched, cancelled and removed. With the
 * stand-in, which stops at each state; and once with the real service, which also says which columns there are.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { FakeServer } from "./fake-server.mjs";
import { KINDS } from "../../web/js/export-order.js";
import { beat, open_on, open_page, skip_reason, start_browser, start_service, until, violations } from "./harness.mjs";

const LOOKS = {
  "dark": { colorScheme: "dark" },
  "light tablet": { colorScheme: "light", width: 900, height: 800 },
  "light": { colorScheme: "light" },
  "dark phone": { colorScheme: "dark", width: 390, height: 844 },
};

describe("exports", { skip: skip_reason({ needs_binary: false }) }, () => {
  let browser, fake;
  before(async () => { browser = await start_browser(); });
  after(async () => { await browser?.close(); });
  beforeEach(async () => {
    fake = await new FakeServer({ offline_after_ms: 600_000 }).start();
    for (let i = 1; i <= 3; i++) fake.heartbeat({ customer: i === 3 ? "globex" : "acme", vehicle: `TRK-${i}` });
  });
  afterEach(async () => {
    await Promise.all(browser.contexts().map((context) => context.close()));
    await fake.stop();
  });

  const open = async (path = "/?view=exports", options = {}) => {
    const { page } = await open_on(fake, browser, path, options);
    await page.locator("#export-form").waitFor();
    return page;
  };
  const exports = (page) => page.locator("#exports-list li");
  const stands = (page, text) => exports(page).first().filter({ hasText: text }).waitFor();

  test("an order is composed, followed live, fetched, and taken out of the list", async () => {
    const page = await open("/?view=exports&customer=acme");
    await page.getByText("Nothing has been ordered yet.").waitFor();
    assert.equal(await page.getByLabel("Customer", { exact: true }).last().inputValue(), "acme", "whom one looks at");
    await page.getByLabel("Vehicles one a line").fill("TRK-1\nTRK-2");
    await page.getByRole("combobox", { name: "Period" }).selectOption("custom");
    await page.getByLabel("From your time").fill("2026-01-01T00:00");
    await page.getByLabel("To", { exact: true }).fill("2026-01-02T12:30:15");
    await page.getByText("Columns", { exact: true }).click();
    await page.getByRole("button", { name: "None" }).click();
    await page.getByRole("checkbox", { name: "to", exact: true }).check();
    await page.getByRole("checkbox", { name: "vehicle" }).check();
    await page.getByLabel("Format").selectOption("parquet");
    await page.getByRole("button", { name: "Order export" }).click();
    await stands(page, /Transitions of acme, TRK-1 and 1 other.*parquet.*Waiting/s);
    const [ordered] = fake.exports;
    assert.deepEqual([ordered.columns, ordered.vehicles, ordered.format], [["vehicle", "to"], ["TRK-1", "TRK-2"], "parquet"]);
    assert.deepEqual([ordered.from, ordered.to].map((at) => Date.parse(at)), [new Date(2026, 0, 1).getTime(), new Date(2026, 0, 2, 12, 30, 15).getTime()]);

    Object.assign(ordered, { state: "STARTED", progress: 0.45, rows: 45_000, attempts: 1 });
    await stands(page, "Writing, 45 %, 45,000 rows");
    assert.equal(await page.getByRole("progressbar", { name: "Progress of Transitions of acme" }).evaluate((bar) => bar.value), 0.45);
    const expires_at = new Date(Date.now() + 86_400_000).toISOString();
    Object.assign(ordered, { state: "FINISHED", progress: 1, rows: 100_000, bytes: 5_120_344, exportUri: `/api/v1/exports/${ordered.id}/file?seal=1`, expires_at });
    await page.getByRole("status").filter({ hasText: "Transitions of acme, TRK-1 and 1 other: Ready: 100,000 rows, 5.1 MB" }).waitFor({ state: "attached" });
    const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: "Download Transitions of acme" }).click()]);
    assert.equal(download.suggestedFilename(), `${ordered.id}.csv`);
    assert.equal(readFileSync(await download.path(), "utf8"), "customer,vehicle\n");
    await page.getByRole("button", { name: "Remove Transitions of acme" }).click();
    await page.getByText("Nothing has been ordered yet.").waitFor();
    assert.deepEqual(fake.exports, []);
  });

  test("with the keyboard alone: ordered, followed, cancelled, and the focus is never lost", async () => {
    const page = await open();
    const tab_to = async (id) => {
      for (let presses = 0; presses < 60 && (await page.evaluate(() => document.activeElement.id)) !== id; presses++) await page.keyboard.press("Tab");
      assert.equal(await page.evaluate(() => document.activeElement.id), id);
    };
    await tab_to("export-kind");
    await page.keyboard.type("Av");
    await tab_to("export-order");
    await page.keyboard.press("Enter");
    await stands(page, "Availability of all customers");
    await page.keyboard.press("Tab");
    await until("the button of the row", () => page.evaluate(() => document.activeElement.getAttribute("aria-label") === "Cancel Availability of all customers"));
    Object.assign(fake.exports[0], { state: "STARTED", progress: 0.1 });
    await stands(page, "Writing, 10 %");
    await page.keyboard.press("Enter");
    await stands(page, "Cancelled");
    assert.equal(await page.evaluate(() => document.activeElement.getAttribute("aria-label")), "Remove Availability of all customers");
    await page.keyboard.press("Enter");
    await page.getByText("Nothing has been ordered yet.").waitFor();
    assert.equal(await page.evaluate(() => document.activeElement.id), "exports-list");
  });

  test("what is missing or refused is said at its field; nothing that was written is lost", async () => {
    const page = await open();
    await page.getByLabel("Vehicles one a line").fill("TRK-1");
    await page.getByRole("button", { name: "Order export" }).click();
    await page.getByRole("alert").filter({ hasText: "customer: name the vehicles' customer" }).waitFor();
    assert.equal(await page.evaluate(() => document.activeElement.id), "export-customer");
    await page.locator("#export-customer").selectOption("globex");
    await page.getByLabel("What").selectOption("vehicles");
    await page.getByRole("combobox", { name: "Period" }).waitFor({ state: "hidden" });
    await page.getByText("Columns", { exact: true }).click();
    await page.getByLabel("Readings").fill("nothing");
    await page.getByRole("button", { name: "Order export" }).click();
    await page.getByRole("alert").filter({ hasText: "columns: 'metrics.nothing' is unknown" }).waitFor();
    assert.equal(await page.getByLabel("Vehicles one a line").inputValue(), "TRK-1");
    assert.equal(fake.exports.length, 0);
    await page.getByLabel("Readings").fill("oil_c");
    await page.getByRole("button", { name: "Order export" }).click();
    await stands(page, "Vehicles of globex, TRK-1");
    assert.equal(await page.locator("#export-trouble").innerText(), "");
  });

  test("an export that fails is red and says why; one that waits for its next try too; a store that is away is said", async () => {
    const page = await open();
    await page.getByRole("button", { name: "Order export" }).click();
    await stands(page, "Waiting");
    Object.assign(fake.exports[0], { attempts: 2, error: "the store does not answer" });
    await stands(page, "Failed 2 times, tried again soon: the store does not answer");
    Object.assign(fake.exports[0], { state: "FAILED", attempts: 5 });
    await stands(page, "Failed for good: the store does not answer");
    fake.refuse_rest = true;
    await page.getByRole("button", { name: "Order export" }).click();
    await page.getByRole("alert").filter({ hasText: "the store does not answer" }).first().waitFor();
  });

  for (const [look, options] of Object.entries(LOOKS)) {
    test(`axe finds nothing, and nothing goes sideways: ${look}`, async () => {
      const page = await open("/?view=exports", options);
      await page.getByText("Columns", { exact: true }).click();
      await page.getByRole("combobox", { name: "Period" }).selectOption("custom");
      for (const kind of ["transitions", "vehicles"]) {
        await page.getByLabel("What").selectOption(kind);
        await page.getByRole("button", { name: "Order export" }).click();
        if (kind === "transitions") await page.getByRole("alert").filter({ hasText: "from: say when" }).waitFor();
      }
      await stands(page, "Vehicles of all customers");
      Object.assign(fake.exports[0], { state: "STARTED", progress: 0.45, attempts: 1 });
      fake.exports.push({ ...fake.exports[0], id: "f".repeat(16), state: "FINISHED", rows: 12, bytes: 3_400, exportUri: "/api/v1/exports/f/file" });
      await stands(page, "Writing, 45 %");
      assert.deepEqual(await violations(page), []);
      assert.equal(await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth), 0);
      if (process.env.SHOTS) await page.screenshot({ path: `${process.env.SHOTS}/exports-${look.replace(" ", "-")}.png` });
    });
  }
});

describe("exports of the real service", { skip: skip_reason() }, () => {
  let browser, service;
  before(async () => {
    service = await start_service({ offline_after: "10m" });
    await beat(service.url, { customer: "acme", vehicle: "TRK-1" }, { customer: "globex", vehicle: "VAN-1" });
    browser = await start_browser();
  });
  after(async () => {
    await browser?.close();
    await service?.kill();
  });

  test("the page offers each kind with exactly the columns that the service has", async () => {
    for (const [kind, { columns, timeless }] of Object.entries(KINDS)) {
      const period = timeless ? {} : { from: Date.now() - 60_000, to: Date.now() };
      const order = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ kind, format: "ndjson", ...period }) };
      const answer = await fetch(`${service.url}/api/v1/exports`, order);
      assert.equal(answer.status, 202, kind);
      assert.deepEqual((await answer.json()).columns, columns, kind);
    }
    const { components } = await (await fetch(`${service.url}/api/v1/openapi.json`)).json();
    assert.deepEqual(Object.keys(KINDS).sort(), [...components.schemas.ExportKind.enum].sort());
  });

  test("an order of one customer's transitions becomes a file with them and nobody else's", async () => {
    const { page, errors } = await open_page(browser, `${service.url}/?view=exports&customer=acme`);
    await page.getByRole("button", { name: "Order export" }).click();
    const link = page.getByRole("link", { name: "Download Transitions of acme" });
    const [download] = await Promise.all([page.waitForEvent("download"), link.click()]);
    const [head, row, ...rest] = readFileSync(await download.path(), "utf8").trim().split(/\r?\n/);
    assert.deepEqual(head.split(","), KINDS.transitions.columns);
    assert.match(row, /^acme,TRK-1,.*,never_seen,online,heartbeat,/);
    assert.deepEqual(rest, []);
    await page.getByRole("button", { name: "Remove Transitions of acme" }).click();
    await link.waitFor({ state: "detached" });
    assert.deepEqual(errors, []);
  });
});
