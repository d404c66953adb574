/**
 * The trends: how many vehicles were online, offline and unobserved over an hour, a day or a week, as lines to zoom
 * into and as a table. Loaded by panes.js when it is opened; reads the stored counts through reads.js once a minute.
 */
import { Chart } from "./chart.js";
import { SERIES, joined, points_of, summary_of, table_of } from "./counts-log.js";
import { Trouble, element, write } from "./elements.js";
import { blind_intervals, stats } from "./reads.js";
import { date_time, duration, whole } from "./words.js";

/** @typedef {import("./counts-log.js").Point} Point */

const HOUR_MS = 3_600_000;
const RANGES = {
  "1h": { ms: HOUR_MS, resolution: /** @type {const} */ ("minute"), words: "the last hour" },
  "24h": { ms: 24 * HOUR_MS, resolution: /** @type {const} */ ("minute"), words: "the last 24 hours" },
  "7d": { ms: 168 * HOUR_MS, resolution: /** @type {const} */ ("hour"), words: "the last 7 days" },
};
const READ_EVERY_MS = 60_000;
/** More rows are not read by anybody; every n-th is shown then. */
const ROWS_MAX = 200;

export class Trends {
  /** @param {Document} page @param {import("./counts-log.js").CountsLog} log */
  constructor(page, log) {
    const find = (/** @type {string} */ id) => /** @type {HTMLElement} */ (page.getElementById(id));
    this.log = log;
    this.root = find("trends-chart");
    this.words = find("trends-words");
    this.blind_words = find("trends-blind");
    this.reset = find("trends-reset");
    this.table = find("trends-table");
    this.rows = find("trends-rows");
    this.as_table = find("trends-as-table");
    this.buttons = [...page.querySelectorAll("[data-range]")].map((each) => /** @type {HTMLElement} */ (each));
    this.trouble = new Trouble(find("trends-trouble"), () => this.#read());
    /** @type {keyof typeof RANGES} */ this.range = "1h";
    this.customer = "";
    this.server_now = NaN;
    this.read_at = NaN;
    /** @type {Point[]} */ this.stored = [];
    /** @type {import("./chart.js").Interval[]} */ this.blind = [];
    /** @type {Chart|null} */ this.chart = null;
    this.drawn = "";
    for (const each of this.buttons) each.addEventListener("click", () => this.#choose(each.dataset.range ?? "1h"));
    this.reset.addEventListener("click", () => this.chart?.reset());
    this.as_table.addEventListener("click", () => this.#toggle_table());
    const zoom = (/** @type {boolean} */ zoomed) => {
      this.reset.hidden = !zoomed;
    };
    Chart.make(this.root, { series: SERIES, zoom })
      .then((chart) => {
        this.chart = chart;
        this.drawn = "";
      })
      .catch((error) => this.trouble.say("The chart could not be loaded", error));
  }

  /** @param {string} range */
  #choose(range) {
    this.range = /** @type {keyof typeof RANGES} */ (range);
    for (const each of this.buttons) each.ariaPressed = String(each.dataset.range === range);
    this.stored = [];
    this.chart?.reset();
    this.#read();
  }

  /** @param {import("./panes.js").View} view */
  draw({ filters, server_now }) {
    this.server_now = server_now;
    if (Number.isNaN(server_now)) return;
    if (filters.customer !== this.customer || !(server_now - this.read_at < READ_EVERY_MS)) {
      this.customer = filters.customer;
      this.#read();
    }
    const drawn = `${this.range} ${this.customer} ${this.read_at} ${this.#live().length} ${this.log.version}`;
    if (drawn === this.drawn || this.chart === null) return;
    this.drawn = drawn;
    this.#draw();
  }

  /** What the page counted is of the whole fleet, and too fine for a week. */
  #live() {
    return this.range === "1h" && this.customer === "" ? this.log.points : [];
  }

  async #read() {
    const { range, customer } = this;
    const to = (this.read_at = this.server_now);
    const from = to - RANGES[range].ms;
    try {
      const [buckets, blind] = await Promise.all([
        stats(RANGES[range].resolution, from, to, customer),
        blind_intervals(from, to),
      ]);
      if (range !== this.range || customer !== this.customer) return; // another was chosen meanwhile
      this.stored = points_of(buckets);
      this.blind = blind;
      this.trouble.clear();
    } catch (error) {
      this.trouble.say("The stored counts could not be read", error);
    }
    this.drawn = "";
  }

  #draw() {
    const { ms, words } = RANGES[this.range];
    const to = this.server_now / 1_000;
    const from = to - ms / 1_000;
    const points = joined(this.stored, this.#live(), from);
    const table = table_of(points, SERIES);
    this.chart?.draw(table, this.blind, from, to);
    const parts = SERIES.map((name, at) => `${name} ${summary_of(table[at + 1])}`);
    const of_whom = this.customer === "" ? "All customers" : this.customer;
    write(this.words, `${of_whom}, ${words}: ${parts.join("; ")}.`);
    this.root.setAttribute("aria-label", this.words.textContent ?? "");
    write(this.blind_words, blind_in_words(this.blind, this.server_now - ms, this.server_now));
    if (!this.table.hidden) this.#draw_rows(points);
  }

  #toggle_table() {
    this.table.hidden = !this.table.hidden;
    this.as_table.ariaExpanded = String(!this.table.hidden);
    write(this.as_table, this.table.hidden ? "Show as table" : "Hide table");
    this.#draw();
  }

  /** Newest first. @param {Point[]} points */
  #draw_rows(points) {
    const step = Math.ceil(points.length / ROWS_MAX);
    const chosen = points.filter((_, at) => (points.length - 1 - at) % step === 0).reverse();
    const rows = chosen.map((point) => {
      const row = document.createElement("tr");
      const time = element("th", "", date_time(point.t * 1_000));
      time.setAttribute("scope", "row");
      const value = (/** @type {number|null} */ each) => (each === null ? "–" : whole(Math.round(each)));
      row.append(time, ...SERIES.map((name) => element("td", "", value(point[name]))));
      return row;
    });
    this.rows.replaceChildren(...rows);
  }
}

/** @param {import("./chart.js").Interval[]} blind @param {number} from @param {number} to */
function blind_in_words(blind, from, to) {
  const ms = blind.reduce((sum, each) => sum + Math.min(each.to ?? to, to) - Math.max(each.from, from), 0);
  if (ms < 1_000) return "";
  return `Grey: Rollcall itself could not listen, ${duration(ms)} in all. Nobody knows what vehicles did then.`;
}
