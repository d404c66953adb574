/**
 * What a vehicle is now, as a list of names and values in words. facts_of() decides, Facts draws.
 * Fed by drawer.js with the columns and with what REST told beyond them.
 */
import { STATUS_WORDS, age, duration, measure, moment, place, source_words, whole } from "./words.js";

/** @typedef {import("./fleet.js").Fleet} Fleet */

export class Facts {
  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
    /** @type {Map<string, {row: HTMLElement, value: Text}>} */ this.rows = new Map();
  }

  /** @param {Record<string, string>} facts name -> text, "" hides */
  draw(facts) {
    for (const [name, text] of Object.entries(facts)) this.#write(name, text);
    for (const [name, { row }] of this.rows) row.hidden = !facts[name];
  }

  /** @param {string} name @param {string} text */
  #write(name, text) {
    let known = this.rows.get(name);
    if (known === undefined) {
      const row = this.root.appendChild(document.createElement("div"));
      row.dataset.fact = name;
      row.appendChild(document.createElement("dt")).textContent = name;
      const value = row.appendChild(document.createElement("dd")).appendChild(document.createTextNode(""));
      this.rows.set(name, (known = { row, value }));
    }
    if (known.value.nodeValue !== text) known.value.nodeValue = text;
  }
}

/**
 * @param {Fleet} fleet
 * @param {number} slot
 * @param {any} detail what REST told, as far as it has
 * @param {number} server_now
 * @returns {Record<string, string>} name -> text, "" hides
 */
export function facts_of(fleet, slot, detail, server_now) {
  const status = STATUS_WORDS[fleet.status[slot]];
  const since = fleet.status_since[slot];
  const { odometer_km, ignition, position, clock_skew_ms } = detail;
  const where = place(fleet.lat_of(slot), fleet.lon_of(slot), 5);
  return {
    Status: `${status.shape} ${status.word}`,
    Meaning: status.meaning,
    Since: Number.isNaN(since) ? "" : `${moment(since, server_now)}, for ${duration(server_now - since)}`,
    "Last seen": seen(fleet.last_seen[slot], server_now),
    "Offline after": policy_in_words(detail),
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

/** "1 min 30 s of silence, the default; it usually sends every 5 s" @param {any} detail */
function policy_in_words({ offline_after_ms, policy_source, usual_gap_ms }) {
  if (offline_after_ms === undefined) return "";
  const usual = usual_gap_ms > 0 ? `; it usually sends every ${duration(Math.max(1_000, usual_gap_ms))}` : "";
  return `${duration(offline_after_ms)} of silence, ${source_words(policy_source)}${usual}`;
}

/** @param {number} time @param {number} server_now */
const seen = (time, server_now) =>
  Number.isNaN(time) ? "never" : `${moment(time, server_now)}, ${age(time, server_now)}`;

/** Where the device's clock stands to ours; the way of a heartbeat takes up to a second or two. @param {number} skew */
const clock = (skew) =>
  Number.isNaN(skew) ? "" : skew === 0 ? "right" : `${duration(Math.abs(skew))} ${skew > 0 ? "ahead" : "behind"}`;
