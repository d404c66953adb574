/**
 * Exports: orders a part of the past as a file, shows how far each is, and hands it out.
 * Fed by panes.js with the fleet and the time; reads and orders through reads.js. The form is exports-form.js, the
 * words are export-order.js.
 */
import { Trouble, button, element, write } from "./elements.js";
import { extent_of, is_under_way, state_of, title_of } from "./export-order.js";
import { ExportForm } from "./exports-form.js";
import { list_exports, order_export, remove_export } from "./reads.js";

/** @typedef {import("./export-order.js").Export} Export */
/**
 * @typedef {{item: HTMLElement, state: HTMLElement, bar: HTMLProgressElement, actions: HTMLElement, offered: string,
 *   link: HTMLAnchorElement}} Row
 */

/** While something is under way, and while nothing is: somebody else may have ordered something. */
const READ_EVERY_MS = { busy: 1_000, quiet: 10_000 };

export class Exports {
  /** @param {Document} page */
  constructor(page) {
    const find = (/** @type {string} */ id) => /** @type {HTMLElement} */ (page.getElementById(id));
    this.list = find("exports-list");
    this.empty = find("exports-empty");
    this.said = find("exports-said");
    this.trouble = new Trouble(find("exports-trouble"), () => this.#read());
    this.form = new ExportForm(page, (order) => this.#order(order));
    /** Newest first. @type {Export[]} */
    this.exports = [];
    /** @type {Map<string, Row>} */ this.rows = new Map();
    this.reading = false;
    this.read_at = -Infinity;
    this.server_now = Date.now();
  }

  /** @param {import("./panes.js").View} view */
  draw({ state: { fleet }, filters, server_now, now }) {
    this.server_now = Number.isNaN(server_now) ? Date.now() : server_now; // the service has not told it yet
    this.form.draw(fleet, filters.customer, this.server_now);
    const wait_ms = this.exports.some(is_under_way) ? READ_EVERY_MS.busy : READ_EVERY_MS.quiet;
    if (!this.reading && now - this.read_at >= wait_ms) this.#read(now);
  }

  /** @param {number} [now] */
  async #read(now = performance.now()) {
    this.reading = true;
    this.read_at = now;
    try {
      const { items } = await list_exports();
      this.#tell(items);
      this.exports = items;
      this.trouble.clear();
      this.#draw_list();
    } catch (error) {
      this.trouble.say("The exports could not be read", error);
    } finally {
      this.reading = false;
    }
  }

  /** What ended since it was last looked at is said aloud. @param {Export[]} items */
  #tell(items) {
    const waited_for = new Set(this.exports.filter(is_under_way).map(({ id }) => id));
    const ended = items.filter((each) => waited_for.has(each.id) && !is_under_way(each));
    const words = ended.map((each) => `${title_of(each)}: ${state_of(each, this.server_now)}`);
    if (words.length > 0) write(this.said, `${words.join(". ")}.`);
  }

  /** @param {Record<string, any>} order */
  async #order(order) {
    this.form.busy = true;
    const { made, errors, problem } = await order_export(order);
    this.form.busy = false;
    this.form.say(errors, problem);
    if (made === null) return;
    write(this.said, `Ordered: ${title_of(made)}.`);
    this.exports = [made, ...this.exports];
    this.#draw_list();
    this.list.firstElementChild?.scrollIntoView({ block: "nearest" });
    this.#read();
  }

  /** @param {string} id */
  async #remove(id) {
    const problem = await remove_export(id);
    if (problem !== "") this.trouble.say("It could not be removed", new Error(problem));
    else await this.#read();
  }

  #draw_list() {
    this.empty.hidden = this.exports.length > 0;
    const wanted = new Set(this.exports.map(({ id }) => id));
    for (const [id, { item }] of this.rows) {
      if (wanted.has(id)) continue;
      this.#leave(item);
      this.rows.delete(id);
    }
    this.exports.forEach((each, at) => {
      const row = this.rows.get(each.id) ?? this.#row(each);
      if (this.list.children[at] !== row.item) this.list.insertBefore(row.item, this.list.children[at] ?? null);
      this.#draw_row(row, each);
    });
  }

  /** Whoever pressed a button in it goes on at the list. @param {HTMLElement} item */
  #leave(item) {
    const was_inside = item.contains(document.activeElement);
    item.remove();
    if (was_inside) this.list.focus();
  }

  /** @param {Export} each @returns {Row} */
  #row(each) {
    const item = element("li", "export-row");
    const title = title_of(each);
    const [state, actions] = [element("p", "export-state"), element("div", "export-actions")];
    const bar = document.createElement("progress");
    bar.ariaLabel = `Progress of ${title}`;
    const link = /** @type {HTMLAnchorElement} */ (element("a", "button", "Download"));
    link.download = "";
    link.ariaLabel = `Download ${title}`;
    item.append(element("strong", "", title), element("p", "quiet", extent_of(each)), state, bar, actions);
    const row = { item, state, bar, actions, offered: "", link };
    this.rows.set(each.id, row);
    return row;
  }

  /** @param {Row} row @param {Export} each */
  #draw_row(row, each) {
    row.item.dataset.state = each.state;
    write(row.state, state_of(each, this.server_now));
    row.bar.hidden = !is_under_way(each);
    if (each.state === "STARTED") row.bar.value = each.progress;
    else row.bar.removeAttribute("value"); // it waits: nobody knows for how long
    if (each.exportUri) row.link.href = each.exportUri;
    const word = is_under_way(each) ? "Cancel" : "Remove";
    const offered = `${each.exportUri ? "link " : ""}${word}`;
    if (row.offered === offered) return; // a button that is there stays, and keeps the focus
    row.offered = offered;
    const order = button(word, () => this.#remove(each.id), "small");
    order.ariaLabel = `${word} ${title_of(each)}`;
    const had_focus = row.actions.contains(document.activeElement);
    row.actions.replaceChildren(...(each.exportUri ? [row.link] : []), order);
    if (had_focus) /** @type {HTMLElement} */ (row.actions.firstElementChild).focus();
  }
}
