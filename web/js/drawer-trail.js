/**
 * Where a vehicle was over the last day, in words and as a list: what the trail on the map shows, without the map.
 * Fed by drawer.js with the vehicle and its columns; reads kept heartbeats through reads.js, and goes on with what the
 * page hears. Its trail (trail.js) is drawn by the map.
 */
import { Trouble, element, time_element, write } from "./elements.js";
import { heartbeats_of } from "./reads.js";
import { Trail } from "./trail.js";
import { date_time, measure, moment, place as place_words, whole } from "./words.js";

const DAY_MS = 86_400_000;
/** The most that REST gives at once: with one a minute, 16 hours of driving. */
const HEARTBEATS = 1_000;
/** Rows of the list: the newest. */
const ROWS = 100;

export class DrawerTrail {
  /** @param {Document} page */
  constructor(page) {
    const find = (/** @type {string} */ id) => /** @type {HTMLElement} */ (page.getElementById(id));
    this.trail = new Trail();
    this.words = find("drawer-trail");
    this.rows = find("drawer-places");
    this.list = /** @type {HTMLDetailsElement} */ (this.rows.closest("details"));
    this.trouble = new Trouble(find("drawer-trail-trouble"), () => this.read());
    this.reading = new AbortController();
    this.customer = "";
    this.vehicle = "";
    this.server_now = NaN;
    /** Which heartbeats the service keeps; "" while not known. */
    this.kept = "";
    this.drawn = -1;
    this.list.addEventListener("toggle", () => this.#draw_rows());
  }

  /** @param {string} customer @param {string} vehicle @param {number} server_now */
  open(customer, vehicle, server_now) {
    Object.assign(this, { customer, vehicle, server_now, kept: "" });
    this.trail.clear();
    this.read();
  }

  close() {
    this.reading.abort();
    this.trail.clear();
  }

  /** Reads the kept part anew; a newer reading makes an older one void. */
  async read() {
    this.reading.abort();
    const { signal } = (this.reading = new AbortController());
    this.trouble.clear();
    const now = Number.isNaN(this.server_now) ? Date.now() : this.server_now;
    try {
      const part = { from: Math.floor(now - DAY_MS), limit: HEARTBEATS };
      const { items, kept } = await heartbeats_of(this.customer, this.vehicle, part, signal);
      if (signal.aborted) return;
      this.kept = kept;
      this.trail.begin(items);
    } catch (error) {
      if (!signal.aborted) this.trouble.say("The trail could not be read", error);
    }
  }

  /** @param {import("./fleet.js").Fleet} fleet @param {number} slot @param {number} server_now */
  draw(fleet, slot, server_now) {
    this.server_now = server_now;
    const [lat, lon, speed] = [fleet.lat_of(slot), fleet.lon_of(slot), fleet.speed_of(slot)];
    const speed_kmh = Number.isNaN(speed) ? null : speed;
    // While the past is still being read the present may not stand before it.
    if (this.kept !== "") this.trail.hear({ at: fleet.last_seen[slot], lat, lon, speed_kmh });
    write(this.words, this.kept === "" ? "" : in_words(this.trail.places, this.kept, server_now));
    if (this.drawn !== this.trail.version) this.#draw_rows();
  }

  #draw_rows() {
    this.drawn = this.trail.version;
    const { places } = this.trail;
    this.list.hidden = places.length === 0;
    if (!this.list.open) return;
    this.rows.replaceChildren(...places.slice(-ROWS).reverse().map(row));
  }
}

/** @param {import("./trail.js").Place} place */
function row({ at, lat, lon, speed_kmh }) {
  const made = element("tr", "");
  const time = element("th", "");
  time.setAttribute("scope", "row");
  time.append(time_element(at, date_time(at)));
  made.append(time, element("td", "", place_words(lat, lon, 5)), element("td", "", measure(speed_kmh ?? NaN, "km/h")));
  return made;
}

/** @param {import("./trail.js").Place[]} places @param {string} kept @param {number} server_now */
function in_words(places, kept, server_now) {
  if (kept === "off" && places.length < 2) {
    return "The trail begins now: heartbeats are not kept here. The setting history.heartbeats keeps them.";
  }
  if (places.length === 0) return "It told of no place in the last 24 hours.";
  const newest = places.length > ROWS ? `; the list has the newest ${ROWS}` : "";
  const count = places.length === 1 ? "One place" : `${whole(places.length)} places`;
  return `${count} since ${moment(places[0].at, server_now)}${newest}.`;
}
