/**
 * Signing in and out: whoever is not known is led to the page for it and comes back to the very address, the header
 * says who is there, and a session that ends elsewhere leaves the fleet in sight with the way back in.
 */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, describe, test } from "node:test";
import { command, open_page, row_of, skip_reason, start_browser, start_service, violations } from "./harness.mjs";

const PASSWORD = "correct horse battery";
const ADDRESS = "/?status=online&customer=acme";

describe("sign-in", { skip: skip_reason() }, () => {
  let browser, service, folder, key;
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "rollcall-"));
    const store = `sqlite:${join(folder, "rollcall.db")}`;
    key = command(store, "key", "create", "--name", "wall", "--scopes", "admin", "");
    command(store, "user", "create", "acme/jo", "--role", "viewer", `${PASSWORD}\n`);
    service = await start_service({ store, offline_after: "10m", settings: { AUTH__MODE: "keys" } });
    const headers = { authorization: `Bearer ${key}`, "content-type": "application/json" };
    const rows = [{ customer: "acme", vehicle: "TRK-1" }, { customer: "globex", vehicle: "VAN-1" }];
    const answer = await fetch(`${service.url}/api/v1/heartbeats`, { method: "POST", headers, body: JSON.stringify(rows) });
    assert.equal(answer.status, 202);
    browser = await start_browser();
  });
  afterEach(() => Promise.all(browser.contexts().map((context) => context.close())));
  after(async () => {
    await browser?.close();
    await service?.kill();
    rmSync(folder, { recursive: true, force: true });
  });

  async function sign_in(page, password = PASSWORD) {
    await page.getByLabel("User name", { exact: true }).fill("acme/jo");
    await page.getByLabel("Password", { exact: true }).fill(password);
    await page.getByRole("button", { name: "Sign in" }).click();
  }

  test("a stranger is led to the sign-in and comes back to the address asked for", async () => {
    const { page, errors } = await open_page(browser, service.url + ADDRESS);
    await page.waitForURL(`${service.url}/login?next=*`);
    await sign_in(page, "not this one");
    await page.getByRole("alert").filter({ hasText: "the user name or the password is wrong" }).waitFor();
    assert.equal(await page.evaluate(() => document.activeElement.id), "password");
    await sign_in(page);
    await row_of(page, "TRK-1").waitFor();
    assert.equal(page.url(), service.url + ADDRESS);
    await page.getByText("acme/jo", { exact: true }).waitFor();
    assert.equal(await row_of(page, "VAN-1").count(), 0);
    assert.equal(await page.evaluate(() => document.cookie), "", "no script can read the cookie");
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.waitForURL(`${service.url}/login?next=*`);
    await page.goto(service.url + ADDRESS);
    await page.waitForURL(`${service.url}/login?next=*`);
    assert.deepEqual(errors, []);
  });

  test("a key signs in too, and sees what it may", async () => {
    const { page } = await open_page(browser, `${service.url}/login`);
    await page.getByRole("radio", { name: "API key" }).check();
    assert.equal(await page.getByLabel("Password", { exact: true }).isVisible(), false);
    await page.locator("#key").fill(key);
    await page.getByRole("button", { name: "Sign in" }).click();
    await row_of(page, "VAN-1").waitFor();
    await page.getByText("key wall", { exact: true }).waitFor();
  });

  test("a session that ends elsewhere leaves the fleet in sight, and the way back in", async () => {
    const { page, context } = await open_page(browser, `${service.url}/login?next=${encodeURIComponent(ADDRESS)}`);
    await sign_in(page);
    await row_of(page, "TRK-1").waitFor();
    await page.getByText("Live", { exact: false }).first().waitFor();
    const everywhere = await context.request.delete(`${service.url}/api/v1/sessions`, { headers: { origin: service.url } });
    assert.equal(everywhere.status(), 204);
    await page.getByRole("alert").filter({ hasText: "You are not signed in" }).waitFor();
    await row_of(page, "TRK-1").waitFor();
    await page.locator("#banner").getByRole("button", { name: "Sign in" }).click();
    await sign_in(page);
    await row_of(page, "TRK-1").waitFor();
    assert.equal(page.url(), service.url + ADDRESS);
  });

  for (const colorScheme of ["dark", "light"]) {
    test(`the page has no fault of accessibility: ${colorScheme}`, async () => {
      const { page } = await open_page(browser, `${service.url}/login`, { colorScheme });
      await page.getByRole("button", { name: "Sign in" }).waitFor();
      assert.deepEqual(await violations(page), []);
      await sign_in(page, "not this one");
      await page.getByRole("alert").filter({ hasText: "wrong" }).waitFor();
      assert.deepEqual(await violations(page), [], "with an error");
    });
  }
});
