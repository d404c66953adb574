/**
 * The numbers of the fleet as columns: the service numbers its vehicles (slots), and each field is one array by slot.
 * 100,000 vehicles cost a few typed arrays, not 100,000 objects.
 * Base of fleet.js, which adds the names; drawn by the map as it is. No DOM, no clock, no network.
 */
import { NO_PERCENT, NO_PLACE, NO_TENTHS, WireError } from "./codec.js";

/** In the order in which they are shown. */
export const STATUSES = /** @type {const} */ (["online", "offline", "unobserved", "never_seen"]);
/** An unknown word or number from a newer server is shown as "we cannot say", never as offline. */
const UNKNOWN_STATUS = STATUSES.indexOf("unobserved");
/** The statuses by their numbers on the wire, and our number of each. */
const ON_WIRE = ["never_seen", "online", "offline", "unobserved"];
const OF_WIRE = ON_WIRE.map((word) => STATUSES.findIndex((each) => each === word));

/** What a frame changed: bits, so that a whole delta adds up to one number. */
export const CHANGED = { added: 1, removed: 2, status: 4, seen: 8, text: 16 };

const FIRST_CAPACITY = 1024;
/** Between the tags of one vehicle. */
export const BETWEEN_TAGS = "\u001f";
/** Web Mercator ends here, so that the world is a square. */
const LAT_MAX = 85.051128779;

/** Web-Mercator fixed point: the world is 2^32 wide, 0 is at the equator and Greenwich. @param {number} lon degrees */
export const mercator_x = (lon) => (lon / 360) * 2 ** 32;

/** As mercator_x; grows to the south. @param {number} lat degrees */
export function mercator_y(lat) {
  const sine = Math.sin((Math.max(-LAT_MAX, Math.min(LAT_MAX, lat)) * Math.PI) / 180);
  return (-Math.log((1 + sine) / (1 - sine)) / (4 * Math.PI)) * 2 ** 32;
}

export class Columns {
  constructor() {
    /** Slots in use: the columns are read from 0 to count. A slot is never used for another vehicle. */
    this.count = 0;
    /** Vehicles that are there now. */
    this.size = 0;
    /** Counts the changes, for those who draw. */
    this.version = 0;
    /** Vehicles per status, in the order of STATUSES. */
    this.tally = [0, 0, 0, 0];
    this.alive = new Uint8Array(FIRST_CAPACITY);
    /** 1 where the filters show the vehicle; written by app.js with each selection (order.js). */
    this.visible = new Uint8Array(FIRST_CAPACITY);
    /** 1 where x, y, lat and lon hold something. */
    this.hasPosition = new Uint8Array(FIRST_CAPACITY);
    this.status = new Uint8Array(FIRST_CAPACITY);
    /** Web-Mercator fixed point, see mercator_x. */
    this.x = new Int32Array(FIRST_CAPACITY);
    this.y = new Int32Array(FIRST_CAPACITY);
    /** Ten-millionths of a degree. */
    this.lat = new Int32Array(FIRST_CAPACITY);
    this.lon = new Int32Array(FIRST_CAPACITY);
    /** Epoch ms; NaN means never. */
    this.last_seen = new Float64Array(FIRST_CAPACITY);
    this.status_since = new Float64Array(FIRST_CAPACITY);
    this.seq = new Uint32Array(FIRST_CAPACITY);
    /** Tenths, or NO_TENTHS. */
    this.speed = new Uint16Array(FIRST_CAPACITY);
    this.heading = new Uint16Array(FIRST_CAPACITY);
    /** Percent, or NO_PERCENT. */
    this.battery = new Uint8Array(FIRST_CAPACITY);
  }

  /** @param {import("./codec.js").Turned} rows @returns {number} bits of CHANGED */
  turn(rows) {
    this.#all_known(rows.slot);
    for (let at = 0; at < rows.slot.length; at++) {
      const slot = rows.slot[at];
      this.tally[this.status[slot]] -= 1;
      this.put_turned(rows, at);
      this.tally[this.status[slot]] += 1;
    }
    this.version += 1;
    return rows.slot.length > 0 ? CHANGED.status : 0;
  }

  /** @param {import("./codec.js").Heard} rows @returns {number} bits of CHANGED */
  hear(rows) {
    this.#all_known(rows.slot);
    for (let at = 0; at < rows.slot.length; at++) this.put_heard(rows, at);
    this.version += 1;
    return rows.slot.length > 0 ? CHANGED.seen : 0;
  }

  /** Shows these slots and no others. @param {Uint32Array} slots */
  show_only(slots) {
    this.visible.fill(0);
    for (let at = 0; at < slots.length; at++) this.visible[slots[at]] = 1;
    this.version += 1;
  }

  /** Degrees; NaN when not known, as all of these. @param {number} slot */
  lat_of(slot) {
    return this.hasPosition[slot] ? this.lat[slot] / 1e7 : NaN;
  }

  /** @param {number} slot */
  lon_of(slot) {
    return this.hasPosition[slot] ? this.lon[slot] / 1e7 : NaN;
  }

  /** km/h. @param {number} slot */
  speed_of(slot) {
    return this.speed[slot] === NO_TENTHS ? NaN : this.speed[slot] / 10;
  }

  /** Degrees. @param {number} slot */
  heading_of(slot) {
    return this.heading[slot] === NO_TENTHS ? NaN : this.heading[slot] / 10;
  }

  /** Percent. @param {number} slot */
  battery_of(slot) {
    return this.battery[slot] === NO_PERCENT ? NaN : this.battery[slot];
  }

  /** @param {import("./codec.js").Turned} rows @param {number} at */
  put_turned(rows, at) {
    const slot = rows.slot[at];
    this.status[slot] = OF_WIRE[rows.status[at]] ?? UNKNOWN_STATUS;
    this.status_since[slot] = rows.status_since[at];
    this.seq[slot] = rows.seq[at];
  }

  /** @param {import("./codec.js").Heard} rows @param {number} at */
  put_heard(rows, at) {
    const slot = rows.slot[at];
    const lat = rows.lat[at];
    const lon = rows.lon[at];
    this.last_seen[slot] = rows.last_seen[at];
    this.speed[slot] = rows.speed[at];
    this.heading[slot] = rows.heading[at];
    this.battery[slot] = rows.battery[at];
    this.hasPosition[slot] = lat !== NO_PLACE && lon !== NO_PLACE ? 1 : 0;
    if (!this.hasPosition[slot]) return;
    this.lat[slot] = lat;
    this.lon[slot] = lon;
    this.x[slot] = fixed(mercator_x(lon / 1e7));
    this.y[slot] = fixed(mercator_y(lat / 1e7));
  }

  /** Makes room for so many slots. @param {number} count */
  reach(count) {
    this.count = Math.max(this.count, count);
    if (count <= this.alive.length) return;
    // Twice as many while small; later by so much that a growing fleet seldom moves and little is left empty.
    const capacity = Math.max(count, Math.min(2 * this.alive.length, this.alive.length + 65_536));
    for (const name of /** @type {const} */ (["alive", "visible", "hasPosition", "status", "battery"])) {
      this[name] = enlarged(this[name], new Uint8Array(capacity));
    }
    for (const name of /** @type {const} */ (["x", "y", "lat", "lon"])) {
      this[name] = enlarged(this[name], new Int32Array(capacity));
    }
    this.seq = enlarged(this.seq, new Uint32Array(capacity));
    this.last_seen = enlarged(this.last_seen, new Float64Array(capacity));
    this.status_since = enlarged(this.status_since, new Float64Array(capacity));
    this.speed = enlarged(this.speed, new Uint16Array(capacity));
    this.heading = enlarged(this.heading, new Uint16Array(capacity));
  }

  /** Looked at before anything is written: a frame is applied whole or not at all. @param {Uint32Array} slots */
  #all_known(slots) {
    for (let at = 0; at < slots.length; at++) {
      if (!this.alive[slots[at]]) throw new WireError(`news of vehicle ${slots[at]}, which is not known here`);
    }
  }
}

/** The number of a status on the wire; one that is no status stays none. @param {string} word */
const status_to_wire = (word) => ON_WIRE.indexOf(word) & 0xff;

/** The word of a status by its number on the wire. @param {number} number */
export const status_word_of_wire = (number) => STATUSES[OF_WIRE[number] ?? UNKNOWN_STATUS];

/** The eastern edge of the world is just beyond what an int32 holds. @param {number} value */
const fixed = (value) => Math.max(-(2 ** 31), Math.min(2 ** 31 - 1, Math.round(value)));

/** @template {{set: (from: any) => void}} T @param {T} from @param {T} to @returns {T} */
export function enlarged(from, to) {
  to.set(from);
  return to;
}

/**
 * Rows of columns from the JSON form.
 * @param {import("./fleet.js").Vehicle[]} list
 * @param {number} first slot of the first
 * @returns {import("./codec.js").Whole}
 */
export function whole_rows(list, first) {
  const customers = [...new Set(list.map(({ customer }) => customer))];
  const time = (/** @type {string|null|undefined} */ text) => (text ? Date.parse(text) : NaN);
  const scaled = (/** @type {number|null|undefined} */ value, /** @type {number} */ by, /** @type {number} */ none) =>
    value === null || value === undefined ? none : Math.round(value * by);
  return {
    customers,
    customer: Uint32Array.from(list, ({ customer }) => customers.indexOf(customer)),
    slot: Uint32Array.from(list, (_, at) => first + at),
    last_seen: Float64Array.from(list, ({ last_seen }) => time(last_seen)),
    status_since: Float64Array.from(list, ({ status_since }) => time(status_since)),
    seq: Uint32Array.from(list, ({ seq }) => seq ?? 0),
    status: Uint8Array.from(list, ({ status }) => status_to_wire(status ?? "never_seen")),
    lat: Int32Array.from(list, ({ position }) => scaled(position?.lat, 1e7, NO_PLACE)),
    lon: Int32Array.from(list, ({ position }) => scaled(position?.lon, 1e7, NO_PLACE)),
    speed: Uint16Array.from(list, ({ position }) => scaled(position?.speed_kmh, 10, NO_TENTHS)),
    heading: Uint16Array.from(list, ({ position }) => scaled(position?.heading_deg, 10, NO_TENTHS)),
    battery: Uint8Array.from(list, ({ battery_pct }) => scaled(battery_pct, 1, NO_PERCENT)),
    vehicle: list.map(({ vehicle }) => vehicle),
    name: list.map(({ name }) => name ?? ""),
    registration: list.map(({ registration }) => registration ?? ""),
    vin: list.map(({ vin }) => vin ?? ""),
    tags: list.map(({ tags }) => (tags ?? []).join(BETWEEN_TAGS)),
  };
}
