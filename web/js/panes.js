/**
 * Everything beside the list: the panel of a vehicle, map, chart, alerts, trends, exports, about, and how the service
 * is. Each part is loaded when it is first needed, none before the first rows; one that cannot be loaded says so in
 * its place. Fed by app.js with what to draw and with what came of each frame.
 */
import { Account } from "./account.js";
import { CountsLog } from "./counts-log.js";
import { Drawer } from "./drawer.js";
import { write } from "./elements.js";
import { Health } from "./health.js";
import { LOAD_AGAIN_MS } from "./pulse.js";
import { fleet_transitions } from "./reads.js";
import { TransitionLog, kept_of } from "./transition-log.js";
import { whole } from "./words.js";

/**
 * @typedef {object} View
 * @property {import("./state.js").LiveState} state
 * @property {import("./live.js").Link} link
 * @property {import("./url.js").Filters} filters
 * @property {boolean} narrow      list and panes take turns
 * @property {number} server_now   epoch ms
 * @property {number} now          monotonic ms
 *
 * @typedef {object} App  what the panes ask for
 * @property {(wanted: Partial<import("./url.js").Filters>) => void} change
 * @property {(ll: string, z: string) => void} look
 * @property {() => void} redraw
 */

/** Acknowledged in this browser only. */
const KEPT = "rollcall.acknowledged";
/** Of the time before the page was opened. */
const TRANSITIONS_READ = 200;
/** A burst of gaps is one reading. */
const READ_EVERY_MS = 2_000;

export class Panes {
  /** @param {Document} page @param {App} app */
  constructor(page, app) {
    this.page = page;
    this.app = app;
    this.log = new TransitionLog();
    this.counts = new CountsLog();
    this.account = new Account(page);
    this.health = new Health(this.#find("proof"), app.redraw);
    this.drawer = new Drawer(page, () => app.change({ v: "" }));
    this.unread = this.#find("unread");
    this.announcement = this.#find("announcement");
    /** @type {Map<string, any>} what has been loaded; null while it is on its way */
    this.parts = new Map();
    /** @type {View|null} as it was drawn last */ this.view = null;
    /** @type {string|null} customer of the last reading of transitions; null: read anew */
    this.read_for = null;
    this.read_at = -Infinity;
    /** What the number on the tab was counted of. */
    this.drawn = "";
    this.log.keep(kept_of(stored(KEPT)));
    addEventListener("storage", ({ key, newValue }) => key === KEPT && this.log.keep(kept_of(newValue)));
  }

  /** @param {string} id */
  #find(id) {
    return /** @type {HTMLElement} */ (this.page.getElementById(id));
  }

  /** Which part of the service does not work, in words; "" when all do. */
  get degraded() {
    return this.health.degraded;
  }

  /** The mark of the dashboard's files that the service has now; "" when nobody can say. */
  get files() {
    return this.health.status?.web_files ?? "";
  }

  /** @param {import("./state.js").Outcome} outcome */
  hear({ transitions, gap, replaced }) {
    if (replaced) this.health.read(); // perhaps another run, with other files
    // Transitions may have passed unheard.
    if (gap || replaced) {
      this.drawer.read();
      this.read_for = null;
    }
    this.drawer.hear(transitions);
    this.log.hear(transitions);
  }

  /** @param {number[]} tally of the whole fleet, by the service @param {number} server_now */
  count(tally, server_now) {
    this.counts.add(server_now, tally);
  }

  /** Opens or closes the panel as the filters say; says whether it is open. @param {string} v @param {number} now */
  show_vehicle(v, now) {
    const slash = v.indexOf("/");
    if (v === "") this.drawer.close();
    else this.drawer.open(v.slice(0, slash), v.slice(slash + 1), now);
    return v !== "";
  }

  /** @param {View} view */
  draw(view) {
    const { state, filters, server_now, now } = view;
    this.drawer.draw(state.fleet, state.fleet.find(filters.v), server_now);
    this.view = view;
    if (this.health.status?.demo) this.#draw_demo();
    if (!state.loaded) return; // a megabyte of map would compete with the first rows
    // The map comes back as it was left, so it goes on being fed behind the others.
    const beside = filters.view === "" && !view.narrow ? "map" : filters.view;
    if (beside === "map" || this.parts.get("map")) {
      this.#part("map")?.draw({
        fleet: state.fleet,
        open: filters.v,
        camera: filters,
        trail: this.drawer.places.trail,
      });
    }
    if (beside === "map" && !view.narrow) this.#part("chart")?.draw(server_now);
    if (beside !== "map" && beside !== "") this.#part(beside)?.draw(view, this.health.status);
    this.#draw_alerts(filters.customer, now);
  }

  #draw_demo() {
    const { customer, vehicle, detail } = this.drawer;
    this.#part("demo")?.show(customer, vehicle, detail?.offline_after_ms ?? NaN);
  }

  /** @param {string} customer @param {number} now */
  #draw_alerts(customer, now) {
    if (customer !== this.read_for && now - this.read_at > READ_EVERY_MS) this.#read_transitions(customer, now);
    const drawn = `${this.log.version} ${customer}`;
    if (drawn !== this.drawn) {
      this.drawn = drawn;
      const unread = this.log.unread(customer);
      write(this.unread, unread === 0 ? "" : whole(unread));
    }
    const summary = this.log.summary(now);
    if (summary !== "") this.announcement.textContent = summary;
  }

  #read_again() {
    if (this.view !== null) this.#read_transitions(this.view.filters.customer, this.view.now);
  }

  /** @param {string} customer @param {number} now */
  async #read_transitions(customer, now) {
    this.read_for = customer;
    this.read_at = now;
    const alerts = this.parts.get("alerts");
    try {
      this.log.merge((await fleet_transitions(customer, TRANSITIONS_READ)).items);
      alerts?.trouble.clear();
    } catch (error) {
      alerts?.trouble.say("Earlier transitions could not be read", error);
    }
    this.app.redraw();
  }

  /** A part, loaded when it is first asked for; null until it is there. @param {string} name */
  #part(name) {
    const known = this.parts.get(name);
    if (known !== undefined) return known;
    this.parts.set(name, null);
    const message = this.page.getElementById(`${name}-message`);
    if (message) write(message, ""); // of the last attempt
    this.#load(name).then(
      (part) => {
        this.parts.set(name, part);
        this.app.redraw();
      },
      (error) => {
        console.warn(`${name}:`, error);
        if (message) write(message, "This part could not be loaded. Trying again …");
        setTimeout(() => this.parts.delete(name), LOAD_AGAIN_MS);
      },
    );
    return null;
  }

  /** @param {string} name */
  async #load(name) {
    const { page, log, app } = this;
    const open = (/** @type {string} */ key) => app.change({ v: key });
    switch (name) {
      case "map":
        return new (await import("./map-pane.js")).MapPane(page, { open, look: app.look });
      case "chart":
        return new (await import("./fleet-chart.js")).FleetChart(page, this.counts);
      case "alerts":
        this.read_for = null; // whatever went wrong before can be told now
        return new (await import("./alerts.js")).AlertsPane(page, log, {
          ...{ open, keep: (/** @type {any} */ kept) => this.#keep(kept), read: () => this.#read_again() },
        });
      case "trends":
        return new (await import("./trends.js")).Trends(page, this.counts);
      case "exports":
        return new (await import("./exports.js")).Exports(page);
      case "about":
        return new (await import("./about.js")).About(page);
      default:
        return new (await import("./demo.js")).DemoButtons(page);
    }
  }

  /** @param {import("./transition-log.js").Kept} kept */
  #keep(kept) {
    try {
      localStorage.setItem(KEPT, JSON.stringify(kept));
    } catch {
      // it lasts until the page is left
    }
    this.app.redraw();
  }
}

/** Storage may be forbidden; then nothing was kept. @param {string} key */
function stored(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}
