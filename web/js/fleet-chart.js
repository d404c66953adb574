/**
 * The small chart under the map: vehicles online over the last hour. Its line of words is always there; the chart
 * itself can be folded away, and is at first where the map has little room.
 * Loaded by panes.js once the fleet is there; fed with what the page counted itself, and with the minutes that the
 * service stored before.
 */
import { Chart } from "./chart.js";
import { joined, points_of, summary_of, table_of } from "./counts-log.js";
import { write } from "./elements.js";
import { blind_intervals, stats } from "./reads.js";
import { whole } from "./words.js";

const HOUR_S = 3_600;
const STORED_EVERY_MS = 60_000;
/** Map below list, as in app.css. */
const TABLET = "(min-width: 760.02px) and (max-width: 1099.98px)";

export class FleetChart {
  /** @param {Document} page @param {import("./counts-log.js").CountsLog} log */
  constructor(page, log) {
    const find = (/** @type {string} */ id) => /** @type {HTMLElement} */ (page.getElementById(id));
    this.log = log;
    this.pane = find("chart-pane");
    this.root = find("fleet-chart");
    this.words = find("fleet-chart-words");
    this.number = find("fleet-chart-now");
    this.message = find("chart-message");
    this.fold = find("chart-fold");
    this.tablet = matchMedia(TABLET);
    /** What the user chose; null: as the width suggests. @type {boolean|null} */
    this.chosen = null;
    /** @type {Chart|null} */ this.chart = null;
    /** @type {import("./counts-log.js").Point[]} */ this.stored = [];
    /** @type {import("./chart.js").Interval[]} */ this.blind = [];
    this.read_at = NaN;
    this.drawn = -1;
    this.asked = false;
    this.fold.addEventListener("click", () => {
      this.chosen = !this.open;
      this.#show();
    });
    this.tablet.addEventListener("change", () => this.#show());
    this.#show();
  }

  get open() {
    return this.chosen ?? !this.tablet.matches;
  }

  #show() {
    this.pane.dataset.chart = this.open ? "open" : "folded";
    this.fold.ariaExpanded = String(this.open);
    this.drawn = -1;
    if (this.open && !this.asked) this.#load();
  }

  /** The library is fetched when the chart is first seen. */
  async #load() {
    this.asked = true;
    try {
      this.chart = await Chart.make(this.root, { series: ["online"], zoom: null, filled: true });
      this.drawn = -1;
    } catch (error) {
      write(this.message, `The chart could not be loaded: ${/** @type {Error} */ (error).message}`);
    }
  }

  /** @param {number} server_now */
  draw(server_now) {
    if (Number.isNaN(server_now)) return;
    if (!(server_now - this.read_at < STORED_EVERY_MS)) this.#read(server_now);
    if (this.drawn === this.log.version) return;
    this.drawn = this.log.version;
    const to = server_now / 1_000;
    const points = joined(this.stored, this.log.points, to - HOUR_S);
    // A page that has just been opened on a service without a past shows what there is, not an empty hour.
    const from = Math.max(to - HOUR_S, Math.min(to - 120, points.find(({ online }) => online !== null)?.t ?? to));
    const table = table_of(points, ["online"]);
    if (this.open) this.chart?.draw(table, this.blind, from, to);
    const now = points.at(-1)?.online ?? null;
    write(this.number, now === null ? "" : `${whole(now)} online`);
    const said = `Vehicles online over the last hour: ${summary_of(table[1])}`;
    if (this.words.getAttribute("aria-label") !== said) this.words.setAttribute("aria-label", said);
  }

  /** @param {number} server_now */
  async #read(server_now) {
    this.read_at = server_now;
    const from = server_now - HOUR_S * 1_000;
    const [buckets, blind] = await Promise.all([
      stats("minute", from, server_now, "").catch(() => []), // then the hour begins with this page
      blind_intervals(from, server_now).catch(() => this.blind),
    ]);
    this.stored = points_of(buckets);
    this.blind = blind;
    this.drawn = -1;
  }
}
