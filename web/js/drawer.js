/**
 * The panel of one vehicle: opens and closes it, and gives its parts what they need: the facts (drawer-facts.js), how
 * available it was (drawer-availability.js), where it was (drawer-trail.js), what happened to it (drawer-history.js).
 * Fed by panes.js with the fleet and live transitions; reads the fields that only a panel shows through reads.js.
 */
import { Availability } from "./drawer-availability.js";
import { Facts, facts_of } from "./drawer-facts.js";
import { History } from "./drawer-history.js";
import { DrawerTrail } from "./drawer-trail.js";
import { write } from "./elements.js";
import { warnings_of, whole_vehicle } from "./reads.js";
import { STATUS_WORDS, warnings_in_words } from "./words.js";

/** @typedef {import("./fleet.js").Fleet} Fleet */
/** @typedef {import("./state.js").Transition} Transition */

/** The fields beyond the columns are read again at most this often while the vehicle speaks. */
const DETAIL_EVERY_MS = 2_000;
const COPIED_FOR_MS = 4_000;

export class Drawer {
  /** @param {Document} page @param {() => void} on_close */
  constructor(page, on_close) {
    const find = (/** @type {string} */ id) => /** @type {HTMLElement} */ (page.getElementById(id));
    this.root = find("drawer");
    this.title = find("drawer-title");
    this.subtitle = find("drawer-customer");
    this.copied = find("drawer-copied");
    this.address = /** @type {HTMLInputElement} */ (find("drawer-address"));
    this.raw = find("drawer-raw");
    this.close_button = find("drawer-close");
    this.facts = new Facts(find("drawer-facts"));
    this.history = new History(page);
    this.availability = new Availability(page);
    this.places = new DrawerTrail(page);
    this.customer = "";
    this.vehicle = "";
    this.warning = "";
    this.reading = new AbortController();
    /** The vehicle as REST told it, and when, by server time. @type {any} */
    this.detail = null;
    this.detail_at = NaN;
    this.close_button.addEventListener("click", on_close);
    this.details = /** @type {HTMLDetailsElement} */ (this.raw.closest("details"));
    this.details.addEventListener("toggle", () => this.#write_raw());
    find("drawer-copy").addEventListener("click", () => this.#copy());
  }

  /** @param {string} customer @param {string} vehicle @param {number} server_now */
  open(customer, vehicle, server_now) {
    if (!this.root.hidden && this.customer === customer && this.vehicle === vehicle) return;
    Object.assign(this, { customer, vehicle, warning: "", detail: null, detail_at: NaN });
    write(this.title, vehicle);
    write(this.subtitle, customer);
    write(this.copied, "");
    write(this.raw, "");
    this.address.hidden = true;
    this.root.hidden = false;
    this.root.scrollTop = 0;
    this.reading.abort();
    const { signal } = (this.reading = new AbortController());
    this.history.open(customer, vehicle, server_now);
    this.availability.open(customer, vehicle, server_now);
    this.places.open(customer, vehicle, server_now);
    warnings_of(customer, vehicle, signal).then((warnings) => {
      if (!signal.aborted) this.warning = warnings_in_words(warnings);
    });
  }

  close() {
    this.reading.abort();
    this.history.close();
    this.availability.close();
    this.places.close();
    this.root.hidden = true;
    this.vehicle = "";
  }

  /** Transitions and places may have passed unheard. */
  read() {
    if (this.root.hidden) return;
    this.history.read();
    this.places.read();
  }

  /** @param {Transition[]} transitions fresh ones of the whole fleet */
  hear(transitions) {
    if (!this.root.hidden) this.history.hear(transitions);
  }

  /** @param {number} server_now */
  async #read_detail(server_now) {
    this.detail_at = server_now;
    const { customer, vehicle } = this;
    const detail = await whole_vehicle(customer, vehicle).catch(() => null); // tried again with the next draws
    if (detail === null || customer !== this.customer || vehicle !== this.vehicle) return;
    this.detail = detail;
    this.#write_raw();
  }

  #write_raw() {
    write(this.raw, this.details.open && this.detail !== null ? JSON.stringify(this.detail, null, 2) : "");
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
        : facts_of(fleet, slot, { ...this.detail, usual_gap_ms: this.history.usual_gap_ms }, server_now);
    this.facts.draw({ Warning: this.warning, ...facts });
    this.history.draw(server_now, slot === undefined ? "" : STATUS_WORDS[fleet.status[slot]].key);
    this.availability.draw(server_now);
    if (slot !== undefined) this.places.draw(fleet, slot, server_now);
  }

  /** To the clipboard; where the browser forbids that, the address is shown and selected. */
  async #copy() {
    try {
      await navigator.clipboard.writeText(location.href);
      write(this.copied, "Link copied.");
      setTimeout(() => write(this.copied, ""), COPIED_FOR_MS);
    } catch {
      this.address.hidden = false;
      this.address.value = location.href;
      this.address.select();
      write(this.copied, "Copy the selected link.");
    }
  }
}
