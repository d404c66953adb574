/** The colours of web/app.css against what they stand on, by the WCAG formula: 4.5 for text, 3 for edges and the focus ring. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

const CSS = readFileSync(new URL("../../web/app.css", import.meta.url), "utf8");
const TEXT = ["text", "muted", "accent", "online", "late", "offline", "unknown"];
const GROUNDS = ["bg", "surface", "raised"];

/** The colour tokens of each block that defines --bg: dark, light by system, light by hand. */
const THEMES = CSS.split("}").filter((block) => block.includes("--bg:"))
  .map((block) => Object.fromEntries([...block.matchAll(/--([a-z-]+): (#[0-9a-f]{6});/g)].map(([, name, colour]) => [name, colour])));

function luminance(colour) {
  const [red, green, blue] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16) / 255)
    .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

function contrast(one, other) {
  const [dark, bright] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (bright + 0.05) / (dark + 0.05);
}

test("dark and light are there, and both ways to light are the same", () => {
  assert.equal(THEMES.length, 3);
  assert.deepEqual(THEMES[1], THEMES[2]);
});

for (const [index, theme] of THEMES.slice(0, 2).entries()) {
  test(`contrast holds in the ${["dark", "light"][index]} theme`, () => {
    for (const ground of GROUNDS) {
      for (const name of TEXT) {
        const ratio = contrast(theme[name], theme[ground]);
        assert.ok(ratio >= 4.5, `${name} on ${ground}: ${ratio.toFixed(2)}`);
      }
      assert.ok(contrast(theme.edge, theme[ground]) >= 3, `edge on ${ground}: ${contrast(theme.edge, theme[ground]).toFixed(2)}`);
    }
  });
}

for (const [index, theme] of THEMES.slice(0, 2).entries()) {
  test(`vehicles stand out from land and sea in the ${["dark", "light"][index]} theme`, () => {
    for (const ground of ["map-land", "map-sea"]) {
      for (const name of ["online", "offline", "unknown", "accent"]) {
        const ratio = contrast(theme[name], theme[ground]);
        assert.ok(ratio >= 4, `${name} on ${ground}: ${ratio.toFixed(2)}`);
      }
    }
  });
}
