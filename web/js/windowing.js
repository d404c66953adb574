/**
 * The arithmetic of a table that draws only the rows in sight. Pure; used by table.js.
 */

/**
 * Browsers stop growing an element somewhere above 10 million pixels; beyond this height the scrollbar is scaled
 * instead.
 */
export const HEIGHT_MAX = 9_600_000;
/** Rows drawn beyond each edge, so that a small scroll shows no blank. */
const OVERSCAN = 4;

/**
 * @typedef {{height: number, first: number, last: number, shift: number}} Window
 *   height: of the scrolled area; rows first..last (exclusive) are drawn, row r at r * row_height + shift
 */

/**
 * @param {number} total rows
 * @param {number} row_height
 * @param {number} view_height
 * @param {number} scroll_top
 * @returns {Window}
 */
export function window_of(total, row_height, view_height, scroll_top) {
  const full = total * row_height;
  const height = Math.min(full, HEIGHT_MAX);
  const top = scroll_top * scale(full, height, view_height);
  const first = Math.max(0, Math.floor(top / row_height) - OVERSCAN);
  const last = Math.min(total, Math.ceil((top + view_height) / row_height) + OVERSCAN);
  return { height, first: Math.min(first, last), last, shift: scroll_top - top };
}

/**
 * The scroll position that shows the row whole, or the present one when it is in sight.
 * @param {number} row
 * @param {number} total
 * @param {number} row_height
 * @param {number} view_height
 * @param {number} scroll_top
 */
export function scroll_to_row(row, total, row_height, view_height, scroll_top) {
  const full = total * row_height;
  const factor = scale(full, Math.min(full, HEIGHT_MAX), view_height);
  const top = scroll_top * factor;
  if (row * row_height < top) return (row * row_height) / factor;
  const bottom = (row + 1) * row_height - view_height;
  return bottom > top ? bottom / factor : scroll_top;
}

/**
 * How many pixels of rows one pixel of scrollbar stands for; 1 below HEIGHT_MAX.
 * @param {number} full
 * @param {number} height
 * @param {number} view_height
 */
function scale(full, height, view_height) {
  return height > view_height ? (full - view_height) / (height - view_height) : 1;
}

/**
 * Where a key takes the active row; null when it is not a movement.
 * @param {string} key
 * @param {number} row
 * @param {number} total
 * @param {number} page rows that fit
 */
export function moved(key, row, total, page) {
  /** @type {Record<string, number>} */
  const targets = {
    ArrowDown: row + 1,
    ArrowUp: row - 1,
    PageDown: row + page,
    PageUp: row - page,
    Home: 0,
    End: total - 1,
  };
  if (!(key in targets) || total === 0) return null;
  return Math.min(total - 1, Math.max(0, targets[key]));
}
