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
import { Provider, free_port } from "./provider.mjs";

const PASSWORD = "correct horse battery";
const ADDRESS = "/?status=online&customer=acme";

describe("sign-in", { skip: skip_reason() }, () => {
  let browser, service, folder, key, provider;
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "rollcall-"));
    const store = `sqlite:${join(folder, "rollcall.db")}`;
    key = command(store, "key", "create", "--name", "wall", "--scopes", "admin", "");
    command(store, "user", "create", "acme/jo", "--role", "viewer", `${PASSWORD}\n`);
    provider = await new Provider({ sub: "f7", preferred_username: "kim", groups: ["drivers"] }).start();
    const port = await free_port();
    const settings = {
      AUTH__MODE: "keys",
      AUTH__OIDC__ISSUER: provider.issuer,
      AUTH__OIDC__CLIENT_ID: "rollcall",
      AUTH__OIDC__NAME: "Fleet ID",
      AUTH__OIDC__PUBLIC_ORIGIN: `http://127.0.0.1:${port}`,
      AUTH__OIDC__RULES: JSON.stringify([{ claim: "groups", value: "drivers", role: "viewer", customer: "acme" }]),
    };
    service = await start_service({ store, port, offline_after: "10m", settings });
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
    provider?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  async function sign_in(page, password = PASSWORD) {
    await page.getByLabel("User name", { exact: true }).fill("acme/jo");
    await page.getByLabel("Password", { exact: true }).fill(password);
    await page.getByRole("button", { name: "Sign in", exact: true }).click();
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

  test("the identity provider, another site, brings one back signed in, to the address asked for", async () => {
    const { page, errors } = await open_page(browser, service.url + ADDRESS);
    await page.getByRole("link", { name: "Sign in with Fleet ID" }).click();
    await page.getByRole("link", { name: "Agree" }).click();
    await row_of(page, "TRK-1").waitFor();
    assert.equal(page.url(), service.url + ADDRESS);
    await page.getByText("acme/kim", { exact: true }).waitFor();
    assert.equal(await page.evaluate(() => document.cookie), "", "no script can read the cookie");
    assert.deepEqual(errors, []);
    await page.goto(`${service.url}/login/oidc/callback?code=x&state=y`);
    await page.getByRole("alert").filter({ hasText: "took too long, or was begun in another window" }).waitFor();
  });

  test("one changes the own password and stays signed in", async () => {
    const { page } = await open_page(browser, `${service.url}/login`);
    await sign_in(page);
    await page.getByRole("link", { name: "acme/jo" }).click();
    await page.waitForURL(`${service.url}/login/password`);
    const change = async (current, wanted, again) => {
      await page.getByLabel("Current password").fill(current);
      await page.getByLabel("New password", { exact: true }).fill(wanted);
      await page.getByLabel("New password again").fill(again);
      await page.getByRole("button", { name: "Change password" }).click();
    };
    await change(PASSWORD, "another password", "another passwort");
    await page.getByRole("alert").filter({ hasText: "not the same twice" }).waitFor();
    await change("not this one", "another password", "another password");
    await page.getByRole("alert").filter({ hasText: "current: is not your password" }).waitFor();
    assert.deepEqual(await violations(page), []);
    await change(PASSWORD, "another password", "another password");
    await page.getByRole("status").filter({ hasText: "Your password is changed" }).waitFor();
    await change("another password", PASSWORD, PASSWORD);
    await page.getByRole("status").filter({ hasText: "Your password is changed" }).waitFor();
    await page.getByRole("link", { name: "Back to the fleet" }).click();
    await row_of(page, "TRK-1").waitFor();
  });

  for (const colorScheme of ["dark", "light"]) {
    test(`the page has no fault of accessibility: ${colorScheme}`, async () => {
      const { page } = await open_page(browser, `${service.url}/login`, { colorScheme });
      await page.getByRole("button", { name: "Sign in", exact: true }).waitFor();
      assert.deepEqual(await violations(page), []);
      await sign_in(page, "not this one");
      await page.getByRole("alert").filter({ hasText: "wrong" }).waitFor();
      assert.deepEqual(await violations(page), [], "with an error");
    });
  }
});
