/**
 * The panel of one vehicle: what it is now, and its last transitions with their causes.
 * Fed by app.js with the fleet and live transitions; reads older transitions, and the fields that only a panel shows,
 * through reads.js.
 */
import { last_transitions, warnings_of, whole_vehicle } from "./reads.js";
import {
  STATUS_WORDS,
  age,
  cause_in_words,
  date_time,
  duration,
  measure,
  moment,
  place,
  status_word,
  warnings_in_words,
  whole,
} from "./words.js";

/** @typedef {import("./fleet.js").Fleet} Fleet */
/** @typedef {import("./state.js").Transition} Transition */

const TRANSITIONS_SHOWN = 20;
/** The fields beyond the columns are read again at most this often while the vehicle speaks. */
const DETAIL_EVERY_MS = 2_000;
/** @type {Record<string, string>} */
const POLICY_SOURCES = { vehicle: "set for this vehicle", customer: "set for its customer", default: "the default" };

export class Drawer {
  /** @param {Document} page @param {() => void} on_close */
  constructor(page, on_close) {
    const find = (/** @type {string} */ id) => /** @type {HTMLElement} */ (page.getElementById(id));
    this.root = find("drawer");
    this.title = find("drawer-title");
    this.facts = find("drawer-facts");
    this.trouble = find("drawer-trouble");
    this.list = find("drawer-transitions");
    this.close_button = find("drawer-close");
    /** @type {Map<string, Text>} */ this.values = new Map();
    this.customer = "";
    this.vehicle = "";
    /** @type {Transition[]} */ this.transitions = [];
    this.warning = "";
    this.reading = new AbortController();
    /** The vehicle as REST told it, and when, by server time. @type {any} */
    this.detail = null;
    this.detail_at = NaN;
    this.close_button.addEventListener("click", on_close);
    find("drawer-retry").addEventListener("click", () => this.read());
  }

  /** @param {string} customer @param {string} vehicle */
  open(customer, vehicle) {
    if (!this.root.hidden && this.customer === customer && this.vehicle === vehicle) return;
    Object.assign(this, { customer, vehicle, transitions: [], warning: "", detail: null, detail_at: NaN });
    this.list.replaceChildren();
    this.title.textContent = vehicle;
    this.root.hidden = false;
    this.read();
  }

  close() {
    this.reading.abort();
    this.root.hidden = true;
    this.vehicle = "";
  }

  /** Reads the transitions anew; a newer reading makes an older one void. */
  async read() {
    this.reading.abort();
    const { signal } = (this.reading = new AbortController());
    this.#trouble("");
    this.list.ariaBusy = "true";
    warnings_of(this.customer, this.vehicle, signal).then((warnings) => {
      if (!signal.aborted) this.warning = warnings_in_words(warnings);
    });
    try {
      const transitions = await last_transitions(this.customer, this.vehicle, TRANSITIONS_SHOWN, signal);
      if (signal.aborted) return;
      const newest = transitions[0]?.seq ?? 0;
      const heard_meanwhile = this.transitions.filter(({ seq }) => seq > newest);
      this.transitions = [...heard_meanwhile, ...transitions].slice(0, TRANSITIONS_SHOWN);
      this.#draw_transitions();
    } catch (error) {
      if (!signal.aborted) this.#trouble(`The transitions could not be read: ${/** @type {Error} */ (error).message}`);
    } finally {
      if (!signal.aborted) this.list.ariaBusy = "false";
    }
  }

  /** @param {number} server_now */
  async #read_detail(server_now) {
    this.detail_at = server_now;
    const { customer, vehicle } = this;
    const detail = await whole_vehicle(customer, vehicle).catch(() => null); // tried again with the next draws
    if (detail !== null && customer === this.customer && vehicle === this.vehicle) this.detail = detail;
  }

  /** @param {Transition[]} transitions fresh ones of the whole fleet */
  hear(transitions) {
    const newest = this.transitions[0]?.seq ?? 0;
    const mine = transitions.filter(
      (each) => each.vehicle === this.vehicle && each.customer === this.customer && each.seq > newest,
    );
    if (this.root.hidden || mine.length === 0) return;
    this.transitions = [...mine.reverse(), ...this.transitions].slice(0, TRANSITIONS_SHOWN);
    this.#draw_transitions();
    this.read(); // the live frame says what happened; the evidence is in REST
  }

  /** @param {Fleet} fleet @param {number|undefined} slot undefined: not in the fleet @param {number} server_now */
  draw(fleet, slot, server_now) {
    if (this.root.hidden) return;
    const seen = slot === undefined ? NaN : fleet.last_seen[slot];
    const is_old = this.detail === null || Date.parse(this.detail.last_seen) !== seen;
    if (slot !== undefined && is_old && !(server_now - this.detail_at < DETAIL_EVERY_MS)) this.#read_detail(server_now);
    this.root.dataset.status = slot === undefined ? "" : STATUS_WORDS[fleet.status[slot]].key;
    const facts =
      slot === undefined
        ? { Vehicle: "not in the fleet any more, or not yet" }
        : facts_of(fleet, slot, this.detail ?? {}, server_now);
    const shown = { Warning: this.warning, ...facts };
    for (const [name, text] of Object.entries(shown)) this.#fact(name, text);
    for (const [name, value] of this.values) {
      const row = /** @type {HTMLElement} */ (value.parentElement?.parentElement);
      row.hidden = !/** @type {Record<string, string>} */ (shown)[name];
    }
  }

  /** @param {string} name @param {string} text */
  #fact(name, text) {
    let value = this.values.get(name);
    if (value === undefined) {
      const row = this.facts.appendChild(document.createElement("div"));
      row.dataset.fact = name;
      row.appendChild(document.createElement("dt")).textContent = name;
      value = row.appendChild(document.createElement("dd")).appendChild(document.createTextNode(""));
      this.values.set(name, value);
    }
    if (value.nodeValue !== text) value.nodeValue = text;
  }

  #draw_transitions() {
    this.list.replaceChildren(...this.transitions.map(transition_item));
    if (this.transitions.length === 0) this.list.append(element("li", "quiet", "No transition yet."));
  }

  /** @param {string} text */
  #trouble(text) {
    this.trouble.hidden = text === "";
    /** @type {HTMLElement} */ (this.trouble.firstElementChild).textContent = text;
  }
}

/**
 * @param {Fleet} fleet
 * @param {number} slot
 * @param {any} detail what REST told, as far as it has
 * @param {number} server_now
 * @returns {Record<string, string>} name -> text, "" hides
 */
function facts_of(fleet, slot, detail, server_now) {
  const status = STATUS_WORDS[fleet.status[slot]];
  const since = fleet.status_since[slot];
  const { offline_after_ms, policy_source, odometer_km, ignition, position, clock_skew_ms } = detail;
  const where = place(fleet.lat_of(slot), fleet.lon_of(slot), 5);
  return {
    Status: `${status.shape} ${status.word}`,
    Meaning: status.meaning,
    Since: Number.isNaN(since) ? "" : `${moment(since, server_now)}, for ${duration(server_now - since)}`,
    "Last seen": seen(fleet.last_seen[slot], server_now),
    "Offline after":
      offline_after_ms === undefined
        ? ""
        : `${duration(offline_after_ms)} of silence, ${POLICY_SOURCES[policy_source] ?? policy_source}`,
    Customer: fleet.customer_of(slot),
    Name: fleet.name[slot],
    Registration: fleet.registration[slot],
    VIN: fleet.vin[slot],
    Tags: fleet.tags_of(slot).join(", "),
    Position: where === "" || !position ? where : `${where}, ${age(Date.parse(position.at), server_now)}`,
    Speed: measure(fleet.speed_of(slot), "km/h"),
    Heading: measure(fleet.heading_of(slot), "°"),
    Battery: measure(fleet.battery_of(slot), "%"),
    Odometer: typeof odometer_km === "number" ? `${whole(odometer_km)} km` : "",
    Ignition: typeof ignition === "boolean" ? (ignition ? "on" : "off") : "",
    Clock: clock(clock_skew_ms ?? NaN),
  };
}

/** @param {number} time @param {number} server_now */
const seen = (time, server_now) =>
  Number.isNaN(time) ? "never" : `${moment(time, server_now)}, ${age(time, server_now)}`;

/** Where the device's clock stands to ours; the way of a heartbeat takes up to a second or two. @param {number} skew */
const clock = (skew) =>
  Number.isNaN(skew) ? "" : skew === 0 ? "right" : `${duration(Math.abs(skew))} ${skew > 0 ? "ahead" : "behind"}`;

/** @param {Transition} transition */
function transition_item(transition) {
  const item = element("li", "transition", "");
  item.dataset.status = transition.to;
  const time = element("time", "", date_time(Date.parse(transition.at)));
  time.setAttribute("datetime", transition.at);
  const shape = element("span", "shape", STATUS_WORDS.find((each) => each.key === transition.to)?.shape ?? "");
  shape.ariaHidden = "true";
  const change = element("strong", "", `${status_word(transition.from)} → ${status_word(transition.to)}`);
  item.append(shape, change, time, element("span", "cause", cause_in_words(transition)));
  return item;
}

/** @param {string} tag @param {string} name @param {string} text */
function element(tag, name, text) {
  const made = document.createElement(tag);
  if (name !== "") made.className = name;
  made.textContent = text;
  return made;
}
