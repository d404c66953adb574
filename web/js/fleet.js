/**
 * The fleet by name: who has which slot of the columns (columns.js), whose vehicle it is and what it is called.
 * Fed by state.js with checked frames; read by order.js and the views. No DOM, no clock, no network.
 */
import { BETWEEN_TAGS, CHANGED, Columns, enlarged, status_word_of_wire, whole_rows } from "./columns.js";

export { CHANGED, STATUSES } from "./columns.js";

/**
 * @typedef {{lat: number, lon: number, at?: string|null, speed_kmh?: number|null, heading_deg?: number|null}} Position
 * @typedef {{customer: string, vehicle: string, name?: string|null, registration?: string|null, vin?: string|null,
 *   tags?: string[], status?: string, status_since?: string|null, seq?: number, last_seen?: string|null,
 *   position?: Position|null, battery_pct?: number|null}} Vehicle  as REST tells it
 */

/** Causes of transitions by their number on the wire. */
const CAUSES = ["heartbeat", "silence", "last_will", "goodbye", "blind"];

/** Customers cannot contain "/", so this key is unambiguous. @param {string} customer @param {string} vehicle */
export const keyOf = (customer, vehicle) => `${customer}/${vehicle}`;

export class Fleet extends Columns {
  constructor() {
    super();
    /** Place in customers, by slot. */
    this.customer = new Uint32Array(this.alive.length);
    /** @type {string[]} */ this.customers = [];
    /** How many vehicles each has. @type {number[]} */
    this.customer_sizes = [];
    /** @type {Map<string, number>} */ this.customer_numbers = new Map();
    /** @type {string[]} */ this.vehicle = [];
    /** @type {string[]} */ this.name = [];
    /** @type {string[]} */ this.registration = [];
    /** @type {string[]} */ this.vin = [];
    /** Of one vehicle, with BETWEEN_TAGS between them. @type {string[]} */
    this.tags = [];
    /** How many vehicles have each text of tags; those without any are not counted. @type {Map<string, number>} */
    this.tag_sizes = new Map();
    /** Answers of tag_names(); void when a text of tags comes or goes. @type {string[]|null} */
    this.tag_list = null;
    /** Answers of find(); void when a vehicle comes or goes. @type {Map<string, number|undefined>} */
    this.found = new Map();
    /** All slots by vehicle name; null when a vehicle came since. @type {Uint32Array|null} */
    this.by_name = null;
    /** The same as far as it was in order, and behind it who came since. @type {number[]} */
    this.arrivals = [];
    /** What the text filter looks at, in lower case; made by the first search. @type {string[]|null} */
    this.searchable = null;
  }

  /** Whole rows: of new vehicles, or of known ones whose names changed. @param {import("./codec.js").Whole} rows */
  join(rows) {
    const numbers = rows.customers.map((name) => this.#customer_number(name));
    this.#reach(rows.slot.reduce((most, slot) => Math.max(most, slot + 1), 0));
    for (let at = 0; at < rows.slot.length; at++) {
      const slot = rows.slot[at];
      if (this.alive[slot]) this.#leave(slot);
      else this.arrivals.push(slot);
      this.put_turned(rows, at);
      this.put_heard(rows, at);
      this.vehicle[slot] = rows.vehicle[at];
      this.name[slot] = rows.name[at] ?? "";
      this.registration[slot] = rows.registration[at] ?? "";
      this.vin[slot] = rows.vin[at] ?? "";
      this.tags[slot] = rows.tags[at] ?? "";
      this.#enter(slot, numbers[rows.customer[at]]);
      if (this.searchable) this.searchable[slot] = this.#search_text(slot);
    }
    this.#moved();
    this.by_name = null;
    return rows.slot.length > 0 ? CHANGED.added | CHANGED.text : 0;
  }

  /** Vehicles as REST tells them, in the slots from `first` on. @param {Vehicle[]} list */
  join_vehicles(list, first = this.count) {
    return this.join(whole_rows(list, first));
  }

  /** Vehicles that left; one that is not here, or no more, changes nothing. @param {ArrayLike<number>} slots */
  leave(slots) {
    const before = this.size;
    for (const slot of Array.from(slots)) if (this.alive[slot]) this.#leave(slot);
    if (this.size === before) return 0;
    this.#moved();
    return CHANGED.removed;
  }

  /** The slot of a vehicle by its key. @param {string} key */
  find(key) {
    if (key === "") return undefined;
    if (!this.found.has(key)) this.found.set(key, this.#search(key));
    return this.found.get(key);
  }

  /** @param {number} slot */
  customer_of(slot) {
    return this.customers[this.customer[slot]];
  }

  /** @param {number} slot */
  key_of(slot) {
    return keyOf(this.customer_of(slot), this.vehicle[slot]);
  }

  /** @param {number} slot @returns {string[]} */
  tags_of(slot) {
    return this.tags[slot] === "" ? [] : this.tags[slot].split(BETWEEN_TAGS);
  }

  /** Every tag that some vehicle has, in order. */
  tag_names() {
    const texts = [...this.tag_sizes.keys()];
    return (this.tag_list ??= [...new Set(texts.flatMap((text) => text.split(BETWEEN_TAGS)))].sort());
  }

  /**
   * Transitions by name; those of vehicles that have left are left out.
   * @param {import("./codec.js").TransitionsFrame} frame
   */
  named(frame) {
    /** @type {import("./state.js").Transition[]} */
    const list = [];
    const text = (/** @type {number} */ at) => (Math.abs(at) < 8.64e15 ? new Date(at).toISOString() : "");
    frame.slot.forEach((slot, at) => {
      if (!this.alive[slot]) return;
      list.push({
        customer: this.customer_of(slot),
        vehicle: this.vehicle[slot],
        seq: frame.seq[at],
        from: status_word_of_wire(frame.old[at]),
        to: status_word_of_wire(frame.to[at]),
        at: text(frame.at[at]),
        decided_at: text(frame.decided_at[at]),
        cause: CAUSES[frame.cause[at]] ?? "",
      });
    });
    return list;
  }

  /** The slots that are in use. @returns {number[]} */
  slots() {
    /** @type {number[]} */
    const slots = [];
    for (let slot = 0; slot < this.count; slot++) if (this.alive[slot]) slots.push(slot);
    return slots;
  }

  /** Slots by vehicle, then customer. Code-unit order: the collation-aware order of 100,000 names takes seconds. */
  named_order() {
    if (this.by_name === null) {
      const { vehicle } = this;
      const by_customer = (/** @type {number} */ a, /** @type {number} */ b) =>
        order(this.customer_of(a), this.customer_of(b));
      // A snapshot comes in this order, and the sort of an ordinary array, unlike a typed one, makes use of that.
      const slots = [...new Set(this.arrivals)].filter((slot) => this.alive[slot]);
      this.arrivals = slots.sort((a, b) => order(vehicle[a], vehicle[b]) || by_customer(a, b));
      this.by_name = Uint32Array.from(this.arrivals);
    }
    return this.by_name;
  }

  /** What the text filter looks at, by slot. */
  search_texts() {
    this.searchable ??= Array.from({ length: this.count }, (_, slot) => this.#search_text(slot));
    return this.searchable;
  }

  /** A line break between the fields, so that a search cannot match across two of them. @param {number} slot */
  #search_text(slot) {
    return [this.vehicle[slot], this.name[slot], this.registration[slot], this.vin[slot]].join("\n").toLowerCase();
  }

  /** @param {number} slot @param {number} customer */
  #enter(slot, customer) {
    this.alive[slot] = 1;
    this.size += 1;
    this.tally[this.status[slot]] += 1;
    this.customer[slot] = customer;
    this.customer_sizes[customer] += 1;
    this.#count_tags(this.tags[slot], 1);
  }

  /** @param {number} slot */
  #leave(slot) {
    this.alive[slot] = 0;
    this.visible[slot] = 0;
    this.size -= 1;
    this.tally[this.status[slot]] -= 1;
    this.customer_sizes[this.customer[slot]] -= 1;
    this.#count_tags(this.tags[slot], -1);
  }

  /** @param {string} text @param {number} by */
  #count_tags(text, by) {
    if (text === "") return;
    const size = (this.tag_sizes.get(text) ?? 0) + by;
    if (size === 0) this.tag_sizes.delete(text);
    else this.tag_sizes.set(text, size);
    if (size === 0 || size === by) this.tag_list = null;
  }

  /** Somebody came or went. */
  #moved() {
    this.found.clear();
    this.version += 1;
  }

  /** @param {number} count */
  #reach(count) {
    for (let slot = this.count; slot < count; slot++) {
      // An array with holes would be slow to read.
      this.vehicle[slot] = this.name[slot] = this.registration[slot] = this.vin[slot] = this.tags[slot] = "";
    }
    this.reach(count);
    if (this.customer.length < this.alive.length) {
      this.customer = enlarged(this.customer, new Uint32Array(this.alive.length));
    }
  }

  /** @param {string} name */
  #customer_number(name) {
    const known = this.customer_numbers.get(name);
    if (known !== undefined) return known;
    const number = this.customers.push(name) - 1;
    this.customer_numbers.set(name, number);
    this.customer_sizes.push(0);
    return number;
  }

  /** @param {string} key */
  #search(key) {
    const slash = key.indexOf("/");
    const customer = this.customer_numbers.get(key.slice(0, slash));
    const vehicle = key.slice(slash + 1);
    for (let slot = 0; slot < this.count; slot++) {
      if (this.alive[slot] && this.vehicle[slot] === vehicle && this.customer[slot] === customer) return slot;
    }
    return undefined;
  }
}

/** @param {string} a @param {string} b */
const order = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
