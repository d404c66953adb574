/** The arithmetic of the windowed table. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { HEIGHT_MAX, moved, scroll_to_row, window_of } from "../../web/js/windowing.js";

const ROW = 36;
const VIEW = 720;

test("a short list is drawn whole", () => {
  assert.deepEqual(window_of(5, ROW, VIEW, 0), { height: 180, first: 0, last: 5, shift: 0 });
  assert.deepEqual(window_of(0, ROW, VIEW, 0), { height: 0, first: 0, last: 0, shift: 0 });
});

test("100,000 rows draw only those in sight and a few beyond", () => {
  const { height, first, last, shift } = window_of(100_000, ROW, VIEW, 36_000);
  assert.deepEqual([height, first, last, shift], [3_600_000, 996, 1_024, 0]);
});

test("a million rows scale the scrollbar: the ends are reached, the rows cover the view", () => {
  const total = 1_000_000;
  for (const scroll_top of [0, 1, 123_456, HEIGHT_MAX / 2, HEIGHT_MAX - VIEW]) {
    const { height, first, last, shift } = window_of(total, ROW, VIEW, scroll_top);
    assert.equal(height, HEIGHT_MAX);
    assert.ok(first * ROW + shift <= scroll_top, "first row begins above the view");
    assert.ok(last * ROW + shift >= scroll_top + VIEW - 0.001, "last row ends below the view");
  }
  assert.equal(window_of(total, ROW, VIEW, HEIGHT_MAX - VIEW).last, total);
});

test("a scroll position left over from a longer list draws nothing outside the list", () => {
  const { first, last } = window_of(3, ROW, VIEW, 9_000);
  assert.ok(first <= last && last <= 3);
});

test("scrolling to a row moves as little as possible", () => {
  assert.equal(scroll_to_row(5, 1_000, ROW, VIEW, 0), 0);
  assert.equal(scroll_to_row(20, 1_000, ROW, VIEW, 0), 36);
  assert.equal(scroll_to_row(2, 1_000, ROW, VIEW, 900), 72);
});

test("scrolling to any row of a million shows it", () => {
  for (const row of [0, 1, 500_000, 999_999]) {
    const scroll_top = scroll_to_row(row, 1_000_000, ROW, VIEW, 4_000_000);
    const { first, last, shift } = window_of(1_000_000, ROW, VIEW, scroll_top);
    const top = row * ROW + shift;
    assert.ok(row >= first && row < last && top >= scroll_top - 0.1 && top + ROW <= scroll_top + VIEW + 0.1, `row ${row}`);
  }
});

test("keys move within the list", () => {
  assert.deepEqual(["ArrowDown", "ArrowUp", "PageDown", "PageUp", "Home", "End"].map((key) => moved(key, 5, 100, 20)), [6, 4, 25, 0, 0, 99]);
  assert.equal(moved("ArrowDown", 99, 100, 20), 99);
  assert.equal(moved("x", 5, 100, 20), null);
  assert.equal(moved("End", 0, 0, 20), null);
});
