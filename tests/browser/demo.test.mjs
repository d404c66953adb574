/**
 * The demo's buttons: a vehicle is silenced in its panel, and what follows is seen without a reload; outside the demo
 * there are none.
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { beat, open_page, row_of, skip_reason, start_browser, start_service } from "./harness.mjs";

describe("the demo's buttons", { skip: skip_reason() }, () => {
  let browser;
  const services = [];

  before(async () => { browser = await start_browser(); });
  after(async () => {
    await browser?.close();
    for (const service of services) await service.kill();
  });

  async function open(options) {
    const service = await start_service(options);
    services.push(service);
    if (!options.command) await beat(service.url, { customer: "acme", vehicle: "TRK-1" });
    return { service, ...(await open_page(browser, `${service.url}/?status=online`)) };
  }

  test("a silenced vehicle goes offline for silence, and wakes when told", async () => {
    const { page } = await open({ command: ["demo", "--vehicles", "20"], offline_after: "4s" });
    const first = page.locator("#rows [role=row]:visible").first();
    await first.click();
    const panel = page.getByRole("dialog");
    await panel.getByRole("button", { name: "Silence this vehicle" }).click();
    await panel.getByText(/It says nothing more\. 4 s after its last heartbeat/).waitFor();
    await panel.locator("[data-fact=Status]", { hasText: "Offline" }).waitFor();
    await panel.getByRole("button", { name: "Wake it" }).click();
    await panel.locator("[data-fact=Status]", { hasText: "Online" }).waitFor();
    await panel.getByText("It speaks again.").waitFor();
  });

  test("a real fleet has no such buttons and takes no such orders", async () => {
    const { page, service } = await open({ offline_after: "10m" });
    await row_of(page, "TRK-1").click();
    await page.getByRole("dialog").waitFor();
    assert.equal(await page.getByRole("button", { name: "Silence this vehicle" }).count(), 0);
    const answer = await fetch(`${service.url}/api/v1/demo/acme/TRK-1/silence`, { method: "POST" });
    assert.equal(answer.status, 404);
  });
});
