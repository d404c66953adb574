/** Filters and their form in the address. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { address_after_sign_in, format, narrowed, no_filters, parse, toggled } from "../../web/js/url.js";

test("an address survives the way there and back", () => {
  const search = "?status=offline,unobserved&customer=acme&q=van+7&tag=reefer&sort=-last_seen&v=acme/MTA+NYCT_7326&view=map&ll=51.5,-0.1&z=8.5";
  const { filters, ignored } = parse(search);
  assert.deepEqual(filters, { status: ["offline", "unobserved"], customer: "acme", q: "van 7", tag: "reefer", sort: "-last_seen", v: "acme/MTA NYCT_7326",
    view: "map", ll: "51.5,-0.1", z: "8.5" });
  assert.deepEqual(ignored, []);
  assert.equal(format(filters), search);
});

test("strange text in a filter stays that text", () => {
  for (const q of ["<img onerror=alert(1)>", "a&b=c", "100 %", "Ä/ö+ü", "%2C"]) {
    assert.equal(parse(format({ ...no_filters(), q })).filters.q, q);
  }
});

test("the default view has no query", () => {
  assert.equal(format(no_filters()), "");
  assert.deepEqual(parse("").filters, no_filters());
});

test("what is not understood is left out and named", () => {
  const { filters, ignored } = parse("?status=offline,broken&sort=colour&zoom=8&v=TRK-1");
  assert.deepEqual(filters, { ...no_filters(), status: ["offline"] });
  assert.deepEqual(ignored, ["status=broken", "sort=colour", "zoom=8", "v=TRK-1"]);
});

test("a place that is none is left out and named", () => {
  const { filters, ignored } = parse("?ll=north,pole&z=near&view=globe");
  assert.deepEqual(filters, no_filters());
  assert.deepEqual(ignored, ["ll=north,pole", "z=near", "view=globe"]);
});

test("a status button adds and removes; all four are the same as none", () => {
  assert.deepEqual(toggled([], "offline"), ["offline"]);
  assert.deepEqual(toggled(["offline"], "online"), ["online", "offline"]);
  assert.deepEqual(toggled(["offline"], "offline"), []);
  assert.deepEqual(toggled(["online", "offline", "unobserved"], "never_seen"), []);
});

test("sort and the open vehicle hide nothing", () => {
  assert.equal(narrowed({ ...no_filters(), sort: "-vehicle", v: "a/b", q: " " }), false);
  for (const filter of [{ customer: "acme" }, { q: "x" }, { tag: "ev" }, { status: ["offline"] }]) assert.equal(narrowed({ ...no_filters(), ...filter }), true);
});

test("after signing in one goes on where one wanted to be, and never to another host", () => {
  const origin = "https://fleet.example";
  const after = (next) => address_after_sign_in({ origin, search: `?next=${encodeURIComponent(next)}` });
  assert.equal(after("/?status=offline&v=acme/TRK 1"), "/?status=offline&v=acme/TRK%201");
  assert.equal(address_after_sign_in({ origin, search: "" }), "/");
  for (const next of ["//evil.example/", "/\\evil.example", "https://evil.example", "javascript:alert(1)", "\t//evil.example", "/.//evil.example", "/a/..//evil.example", ""]) {
    assert.equal(after(next), "/", next);
  }
});
