/**
 * What happened to one vehicle: the last day as a strip, and its transitions as a list with the evidence for each.
 * Fed by drawer.js with the vehicle and live transitions; reads the past, a page at a time, through reads.js.
 */
import { Trouble, element, time_element, write } from "./elements.js";
import { blind_intervals, transitions_of } from "./reads.js";
import { pieces_of, spoken } from "./timeline.js";
import { cause_in_words, date_time, duration, evidence_in_words, shape_of, status_word } from "./words.js";

/** @typedef {import("./state.js").Transition} Transition */

const PAGE = 20;
const STRIP_MS = 86_400_000;
/** Of the strip's own reading; a vehicle that changed more often fills less of it. */
const STRIP_TRANSITIONS = 500;
const STRIP_EVERY_MS = 5_000;
const SVG = "http://www.w3.org/2000/svg";
/** Units of the strip's width: finer than its pixels. */
const WIDTH = 1_000;

export class History {
  /** @param {Document} page */
  constructor(page) {
    const find = (/** @type {string} */ id) => /** @type {HTMLElement} */ (page.getElementById(id));
    this.list = find("drawer-transitions");
    this.older = find("drawer-older");
    this.strip = find("drawer-strip");
    this.strip_title = find("drawer-strip-title");
    this.strip_words = find("drawer-strip-words");
    this.trouble = new Trouble(find("drawer-trouble"), () => this.read());
    this.reading = new AbortController();
    this.customer = "";
    this.vehicle = "";
    /** Newest first. @type {Transition[]} */
    this.transitions = [];
    /** The day's, for the strip, and since when they are all there. @type {{list: Transition[], from: number}} */
    this.day = { list: [], from: Infinity };
    /** @type {import("./timeline.js").Interval[]} */
    this.blind = [];
    /** @type {string|null} */ this.cursor = null;
    this.server_now = NaN;
    this.strip_at = NaN;
    this.older.addEventListener("click", () => this.#read_older());
  }

  /** @param {string} customer @param {string} vehicle @param {number} server_now */
  open(customer, vehicle, server_now) {
    Object.assign(this, { customer, vehicle, server_now, transitions: [], blind: [], cursor: null, strip_at: NaN });
    this.day = { list: [], from: Infinity };
    this.list.replaceChildren();
    this.older.hidden = true;
    this.strip.replaceChildren();
    write(this.strip_words, "");
    this.read();
  }

  close() {
    this.reading.abort();
  }

  /** The gap between heartbeats that is usual for it, by the newest evidence; NaN: not known. */
  get usual_gap_ms() {
    return this.transitions.find(({ evidence }) => evidence?.usual_gap_ms)?.evidence.usual_gap_ms ?? NaN;
  }

  /** Reads the newest transitions and the day anew; a newer reading makes an older one void. */
  async read() {
    this.reading.abort();
    const { signal } = (this.reading = new AbortController());
    this.trouble.clear();
    this.list.ariaBusy = "true";
    const now = Number.isNaN(this.server_now) ? Date.now() : this.server_now;
    const [from, to] = [Math.floor(now - STRIP_MS), Math.ceil(now + STRIP_EVERY_MS)];
    try {
      const [page, day, blind] = await Promise.all([
        transitions_of(this.customer, this.vehicle, { limit: PAGE }, signal),
        transitions_of(this.customer, this.vehicle, { from, limit: STRIP_TRANSITIONS }, signal),
        blind_intervals(from, to, signal),
      ]);
      if (signal.aborted) return;
      const newest = page.items[0]?.seq ?? 0;
      const heard_meanwhile = this.transitions.filter(({ seq }) => seq > newest);
      this.transitions = [...heard_meanwhile, ...page.items];
      this.cursor = page.next_cursor;
      this.blind = blind;
      const oldest = day.items.at(-1);
      this.day = { list: day.items, from: day.next_cursor && oldest ? Date.parse(oldest.at) : from };
      this.strip_at = NaN;
      this.#draw_list();
    } catch (error) {
      if (!signal.aborted) this.trouble.say("The transitions could not be read", error);
    } finally {
      if (!signal.aborted) this.list.ariaBusy = "false";
    }
  }

  async #read_older() {
    const { signal } = this.reading;
    try {
      const part = { limit: PAGE, cursor: this.cursor };
      const { items, next_cursor } = await transitions_of(this.customer, this.vehicle, part, signal);
      if (signal.aborted) return;
      this.cursor = next_cursor;
      this.transitions.push(...items);
      this.#draw_list();
    } catch (error) {
      if (!signal.aborted) this.trouble.say("Older transitions could not be read", error);
    }
  }

  /** @param {Transition[]} transitions fresh ones of the whole fleet */
  hear(transitions) {
    const newest = this.transitions[0]?.seq ?? 0;
    const mine = transitions.filter(
      (each) => each.vehicle === this.vehicle && each.customer === this.customer && each.seq > newest,
    );
    if (mine.length === 0) return;
    this.transitions = [...mine.reverse(), ...this.transitions];
    this.day.list = [...mine, ...this.day.list];
    this.strip_at = NaN;
    this.#draw_list();
    this.read(); // the live frame says what happened; the evidence is in REST
  }

  /** @param {number} server_now @param {string} status "": not in the fleet */
  draw(server_now, status) {
    this.server_now = server_now;
    if (status === "" || this.day.from === Infinity || Number.isNaN(server_now)) return;
    if (server_now - this.strip_at < STRIP_EVERY_MS) return;
    this.strip_at = server_now;
    const day = server_now - STRIP_MS;
    const known = pieces_of(this.day.list, this.blind, day, server_now, status, this.day.from);
    // A vehicle of today would be a thin line at the end of an empty strip.
    const pieces = known.length > 1 && known[0].status === "never_seen" ? known.slice(1) : known;
    const { from } = pieces[0];
    this.strip.replaceChildren(...pieces.map((piece) => rectangle(piece, from, server_now - from)));
    const since = `Since it was first heard, ${duration(server_now - from)}`;
    write(this.strip_title, from === day ? "Last 24 hours" : since);
    const said = `${this.strip_title.textContent}: ${spoken(pieces)}`;
    if (this.strip.getAttribute("aria-label") !== said) this.strip.setAttribute("aria-label", said);
    write(this.strip_words, said);
  }

  #draw_list() {
    const items = this.transitions.map((each, at) => transition_item(each, this.transitions[at - 1]));
    this.list.replaceChildren(...items);
    if (items.length === 0) this.list.append(element("li", "quiet", "No transition yet."));
    this.older.hidden = this.cursor === null;
  }
}

/** @param {import("./timeline.js").Piece} piece @param {number} begin @param {number} length of the whole strip */
function rectangle({ from, to, status }, begin, length) {
  const rect = document.createElementNS(SVG, "rect");
  const x = ((from - begin) / length) * WIDTH;
  rect.setAttribute("x", x.toFixed(1));
  // A short outage is still seen: at least one pixel of the panel.
  rect.setAttribute("width", Math.max(status === "online" ? 0 : 3, ((to - from) / length) * WIDTH).toFixed(1));
  rect.setAttribute("height", "20");
  rect.dataset.status = status;
  return rect;
}

/** @param {Transition} transition @param {Transition|undefined} next what came after it */
function transition_item(transition, next) {
  const item = element("li", "transition");
  item.dataset.status = transition.to;
  const at = Date.parse(transition.at);
  const shape = element("span", "shape", shape_of(transition.to));
  shape.ariaHidden = "true";
  const lasted = next === undefined ? "" : `, for ${duration(Date.parse(next.at) - at)}`;
  const when = element("span", "when");
  when.append(time_element(at, date_time(at)), lasted);
  item.append(
    ...[shape, element("strong", "", `${status_word(transition.from)} → ${status_word(transition.to)}`), when],
    element("span", "cause", cause_in_words(transition)),
  );
  const evidence = evidence_in_words(transition);
  if (evidence !== "") item.append(element("span", "evidence", evidence));
  return item;
}
