/**
 * The fleet as the map reads it: its columns as they are, and of all vehicles those that can be drawn.
 * Fed by panes.js through map-pane.js with the fleet (fleet.js), whose columns also say what the filters leave; read by
 * map.js.
 */
import { STATUS_WORDS } from "./words.js";

/** @typedef {import("./fleet.js").Fleet} Fleet */
/** @typedef {import("./map-place.js").Columns} Columns */

export class MapSource {
  constructor() {
    /** @type {Columns} */
    this.columns = {
      count: 0,
      x: new Int32Array(0),
      y: new Int32Array(0),
      status: new Uint8Array(0),
      visible: new Uint8Array(0),
      version: 0,
    };
    /** Vehicles on the map. */
    this.shown = 0;
    /** @type {Fleet|null} */ this.fleet = null;
    this.seen = -1;
  }

  /**
   * @param {Fleet} fleet
   * @returns {boolean} whether the picture may change
   */
  refresh(fleet) {
    if (fleet === this.fleet && fleet.version === this.seen) return false;
    this.fleet = fleet;
    this.seen = fleet.version;
    const { columns } = this;
    if (columns.visible.length !== fleet.alive.length) columns.visible = new Uint8Array(fleet.alive.length);
    // The fleet's arrays are others after it has grown.
    Object.assign(columns, { count: fleet.count, x: fleet.x, y: fleet.y, status: fleet.status });
    this.shown = 0;
    for (let slot = 0; slot < fleet.count; slot++) {
      const drawn = fleet.visible[slot] & fleet.alive[slot] & fleet.hasPosition[slot];
      columns.visible[slot] = drawn;
      this.shown += drawn;
    }
    columns.version += 1;
    return true;
  }

  /** @param {number} slot */
  key(slot) {
    return this.fleet?.key_of(slot) ?? "";
  }

  /** @param {string} key @returns {number|undefined} */
  slot(key) {
    return this.fleet?.find(key);
  }

  /** @param {number} slot */
  name(slot) {
    return this.fleet?.vehicle[slot] ?? "";
  }

  /** A vehicle in one line, for the pointer. @param {number} slot */
  title(slot) {
    const { fleet } = this;
    if (fleet === null) return "";
    return `${fleet.vehicle[slot]} · ${fleet.customer_of(slot)} · ${STATUS_WORDS[fleet.status[slot]].word}`;
  }

  /** Degrees from north; NaN when unknown. @param {number} slot */
  heading(slot) {
    return this.fleet?.heading_of(slot) ?? NaN;
  }
}
