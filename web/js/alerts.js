/**
 * The list of what happened, newest first: what became of which vehicle, when and why, and whether somebody has
 * acknowledged it.
 * Fed by panes.js with the log (transition-log.js) and the fleet; tells it of what is acknowledged here.
 * Rows that are there stay where they are, so that focus and pointer do not lose them.
 */
import { Trouble, button, element, time_element, write } from "./elements.js";
import { keyOf } from "./fleet.js";
import { cause_in_words, duration, moment, shape_of, status_word, whole } from "./words.js";

/** @typedef {import("./transition-log.js").TransitionLog} TransitionLog */
/** @typedef {import("./transition-log.js").Entry} Entry */

/** Rows drawn; the rest of the log is one click away. */
const ROWS = 100;
const SEVERITIES = { alert: "Alert", notice: "Notice", recovery: "Recovery" };

export class AlertsPane {
  /**
   * @param {Document} page
   * @param {TransitionLog} log
   * @param {{open: (key: string) => void, keep: (kept: import("./transition-log.js").Kept) => void,
   *   read: () => void}} app
   */
  constructor(page, log, app) {
    const find = (/** @type {string} */ id) => /** @type {HTMLElement} */ (page.getElementById(id));
    this.app = app;
    this.log = log;
    this.list = find("alerts-list");
    this.empty = find("alerts-empty");
    this.note = find("alerts-note");
    this.all = find("alerts-all");
    this.only = find("alerts-only");
    this.acknowledge_all = find("alerts-acknowledge");
    this.trouble = new Trouble(find("alerts-trouble"), app.read);
    /** Recoveries and notices too. */
    this.everything = false;
    /**
     * @type {Map<string, {item: HTMLElement, still: HTMLElement, cause: HTMLElement, acknowledge: HTMLElement,
     *   entry: Entry}>}
     */
    this.rows = new Map();
    this.drawn = "";
    this.all.addEventListener("click", () => this.#choose(true));
    this.only.addEventListener("click", () => this.#choose(false));
    this.acknowledge_all.addEventListener("click", () => {
      app.keep(log.acknowledge_all(this.#of_customer(true)));
    });
    this.customer = "";
  }

  /** @param {boolean} everything */
  #choose(everything) {
    this.everything = everything;
    this.all.ariaPressed = String(everything);
    this.only.ariaPressed = String(!everything);
    this.#draw_list();
  }

  /** @param {boolean} everything @returns {Entry[]} */
  #of_customer(everything) {
    const { customer } = this;
    return this.log.entries.filter(
      (each) => (customer === "" || each.customer === customer) && (everything || each.severity === "alert"),
    );
  }

  /** @param {import("./panes.js").View} view */
  draw({ state: { fleet }, filters, server_now }) {
    const drawn = `${this.log.version} ${filters.customer}`;
    this.customer = filters.customer;
    if (drawn !== this.drawn) this.#draw_list();
    this.drawn = drawn;
    for (const { entry, still, cause } of this.rows.values()) {
      const slot = fleet.find(keyOf(entry.customer, entry.vehicle));
      const holds = slot !== undefined && fleet.seq[slot] === entry.seq && entry.to !== "online";
      if (holds && !entry.evidence) write(cause, cause_in_words({ ...entry, evidence: seen(fleet.last_seen[slot]) }));
      const how_long = duration(Math.max(0, server_now - entry.time));
      write(
        still,
        holds ? `still ${status_word(entry.to).toLowerCase()}, ${how_long}` : moment(entry.time, server_now),
      );
      still.classList.toggle("holds", holds);
    }
  }

  #draw_list() {
    const found = this.#of_customer(this.everything);
    this.#show(found.slice(0, ROWS));
    this.empty.hidden = found.length > 0;
    const of_whom = this.customer === "" ? "" : ` of ${this.customer}`;
    write(this.empty, this.everything ? `Nothing has happened yet${of_whom}.` : `No alerts${of_whom}. All is well.`);
    const open = this.log.unread(this.customer);
    write(
      this.note,
      `${open === 0 ? "No" : whole(open)} unread${of_whom}${found.length > ROWS ? `, newest ${ROWS} shown` : ""}`,
    );
    this.acknowledge_all.hidden = open === 0;
  }

  /** @param {Entry[]} entries */
  #show(entries) {
    const wanted = new Set(entries.map(({ id }) => id));
    for (const [id, { item }] of this.rows) {
      if (wanted.has(id)) continue;
      item.remove();
      this.rows.delete(id);
    }
    // New ones go between those that stay where they are.
    let next = this.list.firstElementChild;
    for (const entry of entries) {
      const row = this.rows.get(entry.id) ?? this.#row(entry);
      row.entry = entry; // REST knows more of it than the live frame
      if (row.cause.textContent === "" || entry.evidence) write(row.cause, cause_in_words(entry));
      if (row.item === next) next = next.nextElementSibling;
      else this.list.insertBefore(row.item, next);
      const is_open = this.log.is_open(entry);
      row.item.classList.toggle("open", is_open);
      row.acknowledge.hidden = !is_open;
    }
  }

  /** @param {Entry} entry */
  #row(entry) {
    const { id, customer, vehicle, from, to, time, severity } = entry;
    const item = element("li", "alert-row");
    item.dataset.status = to;
    item.dataset.severity = severity;
    const shape = element("span", "shape", shape_of(to));
    shape.ariaHidden = "true";
    const name = button(vehicle, () => this.app.open(keyOf(customer, vehicle)), "link");
    const what = element("span", "change");
    what.append(element("span", "severity", SEVERITIES[severity]), ` ${status_word(from)} → ${status_word(to)}`);
    const acknowledge = button("Acknowledge", () => this.app.keep(this.log.acknowledge(entry)), "small");
    acknowledge.ariaLabel = `Acknowledge ${vehicle}`;
    const still = time_element(time, "");
    const head = element("div", "alert-head");
    head.append(name, element("span", "quiet", customer));
    const when = element("div", "alert-when");
    when.append(still);
    const cause = element("span", "cause");
    item.append(shape, head, when, what, cause, acknowledge);
    const row = { item, still, cause, acknowledge, entry };
    this.rows.set(id, row);
    return row;
  }
}

/**
 * What a live frame does not bring: a vehicle that is still silent was last heard when the fleet says so.
 * @param {number} time
 */
const seen = (time) => (Number.isNaN(time) ? undefined : { last_seen: new Date(time).toISOString() });
