/**
 * The fleet as columns: one slot a vehicle, one array a field. 100,000 vehicles cost a few typed arrays, not 100,000
 * objects.
 * Fed by state.js (rows of snapshots and deltas); read by order.js and the views. No DOM, no clock, no network.
 */

export const STATUSES = /** @type {const} */ (["online", "offline", "unobserved", "never_seen"]);
/** An unknown word from a newer server is shown as "we cannot say", never as offline. */
const UNKNOWN_STATUS = STATUSES.indexOf("unobserved");

/** What put() found changed: bits, so that a whole delta adds up to one number. */
export const CHANGED = { added: 1, removed: 2, status: 4, seen: 8, text: 16 };

/**
 * @typedef {{lat: number, lon: number, at?: string|null, speed_kmh?: number|null, heading_deg?: number|null}} Position
 * @typedef {{customer: string, vehicle: string, name?: string|null, registration?: string|null, vin?: string|null,
 *   tags?: string[]|null, status?: string, status_since?: string|null, last_seen?: string|null, position?:
 * Position|null,
 *   battery_pct?: number|null, odometer_km?: number|null, ignition?: boolean|null, offline_after_ms?: number|null,
 *   policy_source?: string|null, seq?: number|null, clock_skew_ms?: number|null}} VehicleRow
 *   a whole vehicle, or the changed fields of one
 */

const FIRST_CAPACITY = 1024;
const TIMES = /** @type {const} */ (["status_since", "last_seen"]);
const NUMBERS = /** @type {const} */ (["battery_pct", "odometer_km", "offline_after_ms", "seq", "clock_skew_ms"]);
const TEXTS = /** @type {const} */ (["name", "registration", "vin"]);

/** Customers cannot contain "/", so this key is unambiguous. @param {string} customer @param {string} vehicle */
export const keyOf = (customer, vehicle) => `${customer}/${vehicle}`;

export class Fleet {
  constructor() {
    /** Slots given out so far. A slot is never reused, so a table may keep slot numbers across deltas. */
    this.slots_used = 0;
    /** Vehicles that are there now. */
    this.count = 0;
    /** Vehicles per status, in the order of STATUSES. */
    this.tally = [0, 0, 0, 0];
    /** @type {Map<string, number>} key -> slot */
    this.slots = new Map();
    /** @type {Map<string, number>} customer -> number of vehicles */
    this.customers = new Map();
    /** @type {string[]} */ this.customer = [];
    /** @type {string[]} */ this.vehicle = [];
    /** Everything the text filter looks at, in lower case. @type {string[]} */
    this.searchable = [];
    /** @type {Record<typeof TEXTS[number], string[]>} */
    this.text = { name: [], registration: [], vin: [] };
    /** @type {(string[]|undefined)[]} */ this.tags = [];
    /** @type {string[]} */ this.policy_source = [];
    /** @type {(boolean|undefined)[]} */ this.ignition = [];
    this.alive = new Uint8Array(FIRST_CAPACITY);
    this.status = new Uint8Array(FIRST_CAPACITY);
    /** NaN means null. */
    this.number = {
      status_since: column(),
      last_seen: column(),
      battery_pct: column(),
      odometer_km: column(),
      offline_after_ms: column(),
      seq: column(),
      clock_skew_ms: column(),
      lat: column(),
      lon: column(),
      at: column(),
      speed_kmh: column(),
      heading_deg: column(),
    };
    /** @type {Uint32Array|null} all slots by vehicle name; null when a vehicle came since. */
    this.by_name = null;
  }

  /**
   * Writes the fields the row carries; a new vehicle gets a slot.
   * @param {VehicleRow} row
   * @returns {number} bits of CHANGED
   */
  put(row) {
    const key = keyOf(row.customer, row.vehicle);
    const known = this.slots.get(key);
    const slot = known ?? this.#add(key, row);
    let changed = known === undefined ? CHANGED.added : 0;
    changed |= this.#put_status(slot, row);
    changed |= this.#put_texts(slot, row);
    for (const name of TIMES) {
      if (row[name] !== undefined) this.number[name][slot] = millis(row[name]);
    }
    if (row.last_seen !== undefined) changed |= CHANGED.seen;
    for (const name of NUMBERS) {
      if (row[name] !== undefined) this.number[name][slot] = row[name] ?? NaN;
    }
    if (row.position !== undefined) this.#put_position(slot, row.position);
    if (row.tags !== undefined) this.tags[slot] = row.tags?.length ? row.tags : undefined;
    if (row.ignition !== undefined) this.ignition[slot] = row.ignition ?? undefined;
    if (row.policy_source !== undefined) this.policy_source[slot] = row.policy_source ?? "";
    return changed;
  }

  /** @param {string} customer @param {string} vehicle @returns {number} bits of CHANGED */
  remove(customer, vehicle) {
    const key = keyOf(customer, vehicle);
    const slot = this.slots.get(key);
    if (slot === undefined) return 0;
    this.slots.delete(key);
    this.alive[slot] = 0;
    this.count -= 1;
    this.tally[this.status[slot]] -= 1;
    const left = (this.customers.get(customer) ?? 1) - 1;
    if (left > 0) this.customers.set(customer, left);
    else this.customers.delete(customer);
    return CHANGED.removed;
  }

  /** Slots by vehicle, then customer. Code-unit order: the collation-aware order of 100,000 names takes seconds. */
  named_order() {
    if (this.by_name === null) {
      const { vehicle, customer } = this;
      this.by_name = Uint32Array.from({ length: this.slots_used }, (_, slot) => slot).sort(
        (a, b) => order(vehicle[a], vehicle[b]) || order(customer[a], customer[b]),
      );
    }
    return this.by_name;
  }

  /** @param {string} key @param {VehicleRow} row */
  #add(key, row) {
    const slot = this.slots_used++;
    if (slot >= this.alive.length) this.#grow();
    this.slots.set(key, slot);
    this.customers.set(row.customer, (this.customers.get(row.customer) ?? 0) + 1);
    this.customer[slot] = row.customer;
    this.vehicle[slot] = row.vehicle;
    this.policy_source[slot] = "";
    for (const name of TEXTS) this.text[name][slot] = "";
    this.searchable[slot] = row.vehicle.toLowerCase();
    this.alive[slot] = 1;
    this.status[slot] = STATUSES.indexOf("never_seen");
    this.tally[this.status[slot]] += 1;
    this.count += 1;
    this.by_name = null;
    return slot;
  }

  /** @param {number} slot @param {VehicleRow} row */
  #put_status(slot, row) {
    if (row.status === undefined) return 0;
    const index = STATUSES.indexOf(/** @type {any} */ (row.status));
    const status = index < 0 ? UNKNOWN_STATUS : index;
    if (status === this.status[slot]) return 0;
    this.tally[this.status[slot]] -= 1;
    this.tally[status] += 1;
    this.status[slot] = status;
    return CHANGED.status;
  }

  /** @param {number} slot @param {VehicleRow} row */
  #put_texts(slot, row) {
    let touched = false;
    for (const name of TEXTS) {
      if (row[name] === undefined || this.text[name][slot] === (row[name] ?? "")) continue;
      this.text[name][slot] = row[name] ?? "";
      touched = true;
    }
    if (!touched) return 0;
    // A line break between the fields, so that a search cannot match across two of them.
    this.searchable[slot] = [this.vehicle[slot], ...TEXTS.map((name) => this.text[name][slot])]
      .join("\n")
      .toLowerCase();
    return CHANGED.text;
  }

  /** @param {number} slot @param {Position|null} position */
  #put_position(slot, position) {
    this.number.lat[slot] = position?.lat ?? NaN;
    this.number.lon[slot] = position?.lon ?? NaN;
    this.number.at[slot] = millis(position?.at);
    this.number.speed_kmh[slot] = position?.speed_kmh ?? NaN;
    this.number.heading_deg[slot] = position?.heading_deg ?? NaN;
  }

  #grow() {
    const capacity = this.alive.length * 2;
    this.alive = enlarged(this.alive, new Uint8Array(capacity));
    this.status = enlarged(this.status, new Uint8Array(capacity));
    for (const name of /** @type {(keyof Fleet["number"])[]} */ (Object.keys(this.number))) {
      this.number[name] = enlarged(this.number[name], new Float64Array(capacity).fill(NaN));
    }
  }
}

const column = () => new Float64Array(FIRST_CAPACITY).fill(NaN);

/** @template {Uint8Array | Float64Array} T @param {T} from @param {T} to */
function enlarged(from, to) {
  to.set(from);
  return to;
}

/** @param {string|null|undefined} text */
export const millis = (text) => (text ? Date.parse(text) : NaN);

/** @param {string} a @param {string} b */
const order = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
