/**
 * The filter row: text, customer, tag, sort, how many of how many, clear; the order in the grid's header; and the
 * choice of what stands beside the list.
 * Fed by app.js with the filters and the fleet; tells app.js what the user chose.
 */
import { VIEWS, narrowed } from "./url.js";
import { whole } from "./words.js";

/** @typedef {import("./url.js").Filters} Filters */
/** @typedef {(change: Partial<Filters>, typing: boolean) => void} OnChange */

export class FilterRow {
  /** @param {Document} page @param {OnChange} on_change @param {() => void} on_clear */
  constructor(page, on_change, on_clear) {
    this.search = /** @type {HTMLInputElement} */ (page.getElementById("search"));
    this.customer = /** @type {HTMLSelectElement} */ (page.getElementById("customer"));
    this.sort = /** @type {HTMLSelectElement} */ (page.getElementById("sort"));
    this.clear = /** @type {HTMLButtonElement} */ (page.getElementById("clear"));
    this.found = /** @type {HTMLElement} */ (page.getElementById("found"));
    /** @type {HTMLButtonElement[]} */
    this.heads = [...page.querySelectorAll("#grid [data-sort]")].map((each) => /** @type {HTMLButtonElement} */ (each));
    this.tag = /** @type {HTMLSelectElement} */ (page.getElementById("tag"));
    /** What the lists hold: they are rewritten only when that changes, for an open list must not flicker. */
    this.listed = new Map(/** @type {[HTMLSelectElement, string][]} */ ([]));
    this.search.addEventListener("input", () => on_change({ q: this.search.value }, true));
    this.customer.addEventListener("change", () => on_change({ customer: this.customer.value }, false));
    this.tag.addEventListener("change", () => on_change({ tag: this.tag.value }, false));
    this.sort.addEventListener("change", () => on_change({ sort: this.sort.value }, false));
    this.clear.addEventListener("click", on_clear);
    for (const head of this.heads) {
      head.addEventListener("click", () => on_change({ sort: turned(head, this.sort.value) }, false));
    }
  }

  /**
   * @param {Filters} filters
   * @param {import("./fleet.js").Fleet} fleet
   * @param {number} found vehicles that match
   * @param {number} total vehicles there are
   */
  draw(filters, fleet, found, total) {
    const customers = fleet.customers.filter((_, number) => fleet.customer_sizes[number] > 0).sort();
    this.#draw_list(this.customer, "All customers", customers, filters.customer);
    const tags = fleet.tag_names();
    this.#draw_list(this.tag, "All tags", tags, filters.tag);
    this.tag.hidden = tags.length === 0 && filters.tag === "";
    if (this.search.value !== filters.q) this.search.value = filters.q;
    if (this.sort.value !== filters.sort) this.sort.value = filters.sort;
    this.clear.hidden = !narrowed(filters);
    const text = `${whole(found)} of ${whole(total)}`;
    if (this.found.textContent !== text) this.found.textContent = text;
    for (const head of this.heads) {
      const column = /** @type {HTMLElement} */ (head.closest("[role=columnheader]"));
      const word =
        filters.sort === head.dataset.sort
          ? "ascending"
          : filters.sort === `-${head.dataset.sort}`
            ? "descending"
            : "none";
      if (column.ariaSort !== word) column.ariaSort = word;
    }
  }

  /**
   * @param {HTMLSelectElement} list
   * @param {string} all
   * @param {string[]} names
   * @param {string} chosen stays in the list even when no vehicle has it
   */
  #draw_list(list, all, names, chosen) {
    const shown = chosen === "" || names.includes(chosen) ? names : [...names, chosen];
    const text = shown.join("\n");
    if (this.listed.get(list) !== text) {
      this.listed.set(list, text);
      list.replaceChildren(new Option(all, ""), ...shown.map((name) => new Option(name, name)));
    }
    if (list.value !== chosen) list.value = chosen;
  }
}

/** A second click on a header turns its order round. @param {HTMLButtonElement} head @param {string} sort */
function turned(head, sort) {
  const name = head.dataset.sort ?? "vehicle";
  // Times start with the newest: that is what one looks for.
  const first = name === "vehicle" ? name : `-${name}`;
  if (sort !== name && sort !== `-${name}`) return first;
  return sort === name ? `-${name}` : name;
}

/** On a narrow page the list is one of the views; on a wide one it stands beside them. The style sheet shows them. */
export class ViewTabs {
  /** @param {Document} page @param {OnChange} on_change */
  constructor(page, on_change) {
    this.body = page.body;
    this.narrow = matchMedia("(max-width: 760px)");
    /** @type {Map<string, HTMLElement>} */
    this.tabs = new Map(
      ["", ...VIEWS].map((view) => [view, /** @type {HTMLElement} */ (page.getElementById(`view-${view || "list"}`))]),
    );
    for (const [view, tab] of this.tabs) tab.addEventListener("click", () => on_change({ view }, false));
  }

  /** @param {string} view */
  draw(view) {
    const shown = view === "" && !this.narrow.matches ? "map" : view;
    if (this.body.dataset.view === (shown || "list")) return;
    this.body.dataset.view = shown || "list";
    for (const [each, tab] of this.tabs) tab.ariaPressed = String(each === shown);
  }
}
