/** axe-core over the page as it is used: both themes, both widths, with the panel open and with nothing to show. */
import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { beat, open_page, row_of, skip_reason, start_browser, start_service, violations } from "./harness.mjs";

const LOOKS = {
  "dark": { colorScheme: "dark" },
  "light": { colorScheme: "light" },
  "dark phone": { colorScheme: "dark", width: 390, height: 844 },
  "light phone": { colorScheme: "light", width: 390, height: 844 },
};

describe("accessibility", { skip: skip_reason() }, () => {
  let browser, service;
  before(async () => {
    service = await start_service();
    browser = await start_browser();
    await beat(service.url, { customer: "acme", vehicle: "TRK-1", lat: 51.5, lon: -0.1, speed_kmh: 40 }, { customer: "globex", vehicle: "TRK-2" });
  });
  afterEach(() => Promise.all(browser.contexts().map((context) => context.close())));
  after(async () => {
    await browser?.close();
    await service?.kill();
  });

  for (const [look, options] of Object.entries(LOOKS)) {
    test(`no violations: ${look}`, async () => {
      const { page } = await open_page(browser, service.url, options);
      await row_of(page, "TRK-1").waitFor();
      assert.deepEqual(await violations(page), []);
      await row_of(page, "TRK-1").click();
      await page.getByRole("dialog").getByText("Never seen → Online").waitFor();
      assert.deepEqual(await violations(page), [], "with the panel open");
      await page.goto(`${service.url}/?q=nothing+like+it`);
      await page.getByRole("heading", { name: "No vehicle matches" }).waitFor();
      assert.deepEqual(await violations(page), [], "with no match");
    });
  }

  test("the grid tells its size and position to assistive technology, and the skip link leads to it", async () => {
    const { page } = await open_page(browser, service.url);
    await row_of(page, "TRK-2").waitFor();
    await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    assert.equal(await page.evaluate(() => document.activeElement.id), "grid");
    await page.keyboard.press("End");
    const grid = page.getByRole("grid", { name: "Vehicles" });
    assert.equal(await grid.getAttribute("aria-rowcount"), "3");
    await page.locator("#grid[aria-activedescendant]").waitFor(); // it comes with the next frame
    const active = page.locator(`#${await grid.getAttribute("aria-activedescendant")}`);
    assert.equal(await active.getAttribute("aria-rowindex"), "3");
    assert.match(await active.innerText(), /TRK-2/);
  });
});
