/**
 * The fleet as the map reads it: fills the map's columns from the fleet's. A position is projected once, when it
 * changes; otherwise a refresh of 100,000 vehicles is one pass over arrays, below a millisecond.
 * Fed by app.js through map-pane.js with the fleet (fleet.js) and the slots that the filters leave; read by map.js.
 */
import { keyOf } from "./fleet.js";
import { x_of, y_of } from "./map-place.js";
import { STATUS_WORDS } from "./words.js";

/** @typedef {import("./fleet.js").Fleet} Fleet */
/** @typedef {import("./map-place.js").Columns} Columns */

const FIRST_CAPACITY = 1024;
const no_columns = () => ({
  count: 0,
  x: new Int32Array(FIRST_CAPACITY),
  y: new Int32Array(FIRST_CAPACITY),
  status: new Uint8Array(FIRST_CAPACITY),
  visible: new Uint8Array(FIRST_CAPACITY),
  version: 0,
});

export class MapSource {
  constructor() {
    /** @type {Columns} */
    this.columns = no_columns();
    /** The degrees that x and y were made from. */
    this.lat = new Float64Array(FIRST_CAPACITY);
    this.lon = new Float64Array(FIRST_CAPACITY);
    /** Vehicles on the map. */
    this.shown = 0;
    /** @type {Fleet|null} */ this.fleet = null;
    this.wanted = new Uint8Array(FIRST_CAPACITY);
    /** @type {Uint32Array|null} */ this.order = null;
  }

  /**
   * @param {Fleet} fleet
   * @param {Uint32Array} order slots that the filters leave
   * @returns {boolean} whether the picture changes
   */
  refresh(fleet, order) {
    const replaced = fleet !== this.fleet;
    if (replaced) this.lat.fill(NaN); // slots mean other vehicles now
    this.fleet = fleet;
    this.#grow(fleet.slots_used);
    if (replaced || order !== this.order) this.#want(order);
    const changed = this.#copy(fleet) || replaced;
    if (changed) this.columns.version += 1;
    return changed;
  }

  /** @param {number} slot */
  key(slot) {
    return this.fleet === null ? "" : keyOf(this.fleet.customer[slot], this.fleet.vehicle[slot]);
  }

  /** @param {string} key @returns {number|undefined} */
  slot(key) {
    return this.fleet?.slots.get(key);
  }

  /** @param {number} slot */
  name(slot) {
    return this.fleet?.vehicle[slot] ?? "";
  }

  /** A vehicle in one line, for the pointer. @param {number} slot */
  title(slot) {
    const { fleet } = this;
    if (fleet === null) return "";
    return `${fleet.vehicle[slot]} · ${fleet.customer[slot]} · ${STATUS_WORDS[fleet.status[slot]].word}`;
  }

  /** Degrees from north; NaN when unknown. @param {number} slot */
  heading(slot) {
    return this.fleet?.number.heading_deg[slot] ?? NaN;
  }

  /** @param {Uint32Array} order */
  #want(order) {
    this.order = order;
    this.wanted.fill(0);
    for (const slot of order) this.wanted[slot] = 1;
  }

  /** @param {Fleet} fleet */
  #copy(fleet) {
    const { columns, lat, lon, wanted } = this;
    const from = fleet.number;
    let changed = columns.count !== fleet.slots_used;
    let shown = 0;
    for (let slot = 0; slot < fleet.slots_used; slot++) {
      const placed = from.lat[slot] === from.lat[slot] && from.lon[slot] === from.lon[slot]; // neither is NaN
      const visible = placed && fleet.alive[slot] === 1 ? wanted[slot] : 0;
      shown += visible;
      if (placed && (from.lat[slot] !== lat[slot] || from.lon[slot] !== lon[slot])) {
        columns.x[slot] = x_of((lon[slot] = from.lon[slot]));
        columns.y[slot] = y_of((lat[slot] = from.lat[slot]));
        changed = true;
      }
      if (columns.visible[slot] !== visible || columns.status[slot] !== fleet.status[slot]) {
        columns.visible[slot] = visible;
        columns.status[slot] = fleet.status[slot];
        changed = true;
      }
    }
    columns.count = fleet.slots_used;
    this.shown = shown;
    return changed;
  }

  /** @param {number} needed */
  #grow(needed) {
    let capacity = this.wanted.length;
    if (needed <= capacity) return;
    while (capacity < needed) capacity *= 2;
    const { columns } = this;
    columns.x = into(new Int32Array(capacity), columns.x);
    columns.y = into(new Int32Array(capacity), columns.y);
    columns.status = into(new Uint8Array(capacity), columns.status);
    columns.visible = into(new Uint8Array(capacity), columns.visible);
    this.wanted = into(new Uint8Array(capacity), this.wanted);
    this.lat = into(new Float64Array(capacity), this.lat);
    this.lon = into(new Float64Array(capacity), this.lon);
  }
}

/** @template {Int32Array | Uint8Array | Float64Array} T @param {T} to @param {T} from */
function into(to, from) {
  to.set(from);
  return to;
}
