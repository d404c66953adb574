/**
 * A chart of counts over time: lines in the colours of the page, each with a dash of its own, gaps as gaps, and grey
 * where Rollcall itself could not listen. The only file that names the chart library, which it loads when it is needed.
 * Used by fleet-chart.js and trends.js.
 */
import { watch_theme } from "./map-theme.js";
import { load_styles } from "./elements.js";
import { clock_time, whole } from "./words.js";

const LIBRARY = "/vendor/uplot@1.6.32/";
/** Colour token and dash of each series: told apart without colour too. */
const LOOKS = {
  online: { token: "--online", dash: [], label: "Online" },
  offline: { token: "--offline", dash: [8, 4], label: "Offline" },
  unobserved: { token: "--unknown", dash: [2, 4], label: "Unobserved" },
};
/** The same in the legend; the first is the time. */
const BORDERS = ["solid", "solid", "dashed", "dotted"];
const FONT = "12px system-ui, sans-serif";

/** @typedef {{from: number, to: number|null}} Interval  epoch ms */
/** @typedef {keyof typeof LOOKS} Name */

/** @param {string} token */
const colour = (token) => getComputedStyle(document.documentElement).getPropertyValue(token).trim();

export class Chart {
  /**
   * @param {any} library @param {HTMLElement} root
   * @param {{series: readonly Name[], zoom: ((zoomed: boolean) => void)|null, filled?: boolean}} choice
   */
  constructor(library, root, choice) {
    this.library = library;
    this.root = root;
    this.choice = choice;
    /** @type {import("./counts-log.js").Table} */
    this.table = [[], ...choice.series.map(() => [])];
    /** @type {Interval[]} */ this.blind = [];
    /** What is in sight when nobody zoomed in, epoch seconds. */
    this.range = [0, 1];
    this.zoomed = false;
    this.plot = this.#build();
    watch_theme(() => this.#rebuild());
    new ResizeObserver(() => this.#fit()).observe(root);
  }

  /** @param {HTMLElement} root @param {Chart["choice"]} choice */
  static async make(root, choice) {
    if (document.createElement("canvas").getContext("2d") === null) throw new Error("this browser draws no pictures");
    const styles = load_styles(`${LIBRARY}uPlot.min.css`);
    const [{ default: library }] = await Promise.all([import(`${LIBRARY}uPlot.esm.js`), styles]);
    return new Chart(library, root, choice);
  }

  /**
   * @param {import("./counts-log.js").Table} table @param {Interval[]} blind
   * @param {number} from epoch seconds @param {number} to
   */
  draw(table, blind, from, to) {
    Object.assign(this, { table, blind, range: [from, to] });
    this.plot.setData(table, false);
    if (!this.zoomed) this.plot.setScale("x", { min: from, max: to });
    else this.plot.redraw();
  }

  /** Everything in sight again. */
  reset() {
    this.zoomed = false;
    this.choice.zoom?.(false);
    this.plot.setScale("x", { min: this.range[0], max: this.range[1] });
  }

  #size() {
    return { width: Math.max(80, this.root.clientWidth), height: Math.max(60, this.root.clientHeight) };
  }

  #fit() {
    const { width, height } = this.#size();
    if (width !== this.plot.width || height !== this.plot.height) this.plot.setSize({ width, height });
  }

  /** In the colours of another theme, with everything in sight. */
  #rebuild() {
    this.plot.destroy();
    this.plot = this.#build();
    this.reset();
  }

  #build() {
    const { library: Plot, choice } = this;
    const axis = { stroke: colour("--muted"), font: FONT, ticks: { show: false } };
    const grid = { stroke: colour("--line"), width: 1 };
    const options = {
      ...this.#size(),
      legend: {
        show: choice.zoom !== null,
        markers: { width: 3, dash: (/** @type {any} */ _, /** @type {number} */ at) => BORDERS[at] },
      },
      cursor: {
        show: choice.zoom !== null,
        drag: { x: choice.zoom !== null, y: false, setScale: false },
        points: { size: 7 },
      },
      scales: {
        x: { time: true, min: this.range[0], max: this.range[1] },
        y: { range: (/** @type {any} */ _, /** @type {number} */ low, /** @type {number} */ high) => span(low, high) },
      },
      axes: [
        { ...axis, grid, space: 78, size: 26, values: CLOCK },
        {
          ...axis,
          grid,
          space: 34,
          size: (/** @type {any} */ _, /** @type {string[]} */ texts) => width_of(texts),
          values: WHOLE,
        },
      ],
      series: [
        { label: "Time", value: "{YYYY}-{MM}-{DD} {HH}:{mm}" },
        ...choice.series.map((name) => this.#series(name)),
      ],
      hooks: {
        drawClear: [(/** @type {any} */ plot) => this.#draw_blind(plot)],
        setSelect: [(/** @type {any} */ plot) => this.#zoom(plot)],
      },
    };
    return new Plot(options, this.table, this.root);
  }

  /** @param {Name} name */
  #series(name) {
    const { token, dash, label } = LOOKS[name];
    const stroke = colour(token);
    return {
      ...{ label, stroke, width: 2, dash, points: { show: false }, spanGaps: false },
      ...(this.choice.filled ? { fill: `${stroke}26` } : {}),
      value: (/** @type {any} */ _, /** @type {number|null} */ value) =>
        value === null ? "–" : whole(Math.round(value)),
    };
  }

  /** Grey, and behind the lines. @param {any} plot */
  #draw_blind(plot) {
    const { left, width, top, height } = plot.bbox;
    plot.ctx.save();
    plot.ctx.fillStyle = `${colour("--unknown")}4d`;
    for (const { from, to } of this.blind) {
      const at = (/** @type {number} */ ms) =>
        Math.min(left + width, Math.max(left, plot.valToPos(ms / 1_000, "x", true)));
      const begin = at(from);
      const end = to === null ? left + width : at(to);
      if (end > begin) plot.ctx.fillRect(begin, top, Math.max(1, end - begin), height);
    }
    plot.ctx.restore();
  }

  /** @param {any} plot */
  #zoom(plot) {
    const { left, width } = plot.select;
    if (width < 4) return;
    const [min, max] = [plot.posToVal(left, "x"), plot.posToVal(left + width, "x")];
    this.zoomed = true;
    this.choice.zoom?.(true);
    plot.setScale("x", { min, max });
    plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
  }
}

/**
 * From 0, and never flat: a count without a zero line looks like a collapse.
 * @param {number} low @param {number} high
 */
const span = (low, high) => [Math.min(0, low ?? 0), Math.max(1, (high ?? 1) * 1.08)];

/** @param {any} _ @param {number[]} values */
const WHOLE = (_, values) => values.map((each) => (Number.isInteger(each) ? whole(each) : ""));

/** @param {string[]|null} texts */
const width_of = (texts) => 16 + 7 * Math.max(2, ...(texts ?? []).map((text) => text.length));

const HOURS = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const DAYS = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });

/** @param {any} plot @param {number[]} times */
function CLOCK(plot, times) {
  const span_s = plot.scales.x.max - plot.scales.x.min;
  if (span_s < 600) return times.map((each) => clock_time(each * 1_000));
  const days = span_s > 1.5 * 86_400;
  return times.map((each) => (days && new Date(each * 1_000).getHours() === 0 ? DAYS : HOURS).format(each * 1_000));
}
