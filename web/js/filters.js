/**
 * The filter row: text, customer, sort, how many of how many, clear; and the order in the grid's header.
 * Fed by app.js with the filters and the fleet; tells app.js what the user chose.
 */
import { narrowed } from "./url.js";
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
    this.customers_shown = "";
    this.search.addEventListener("input", () => on_change({ q: this.search.value }, true));
    this.customer.addEventListener("change", () => on_change({ customer: this.customer.value }, false));
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
    this.#draw_customers(fleet, filters.customer);
    if (this.search.value !== filters.q) this.search.value = filters.q;
    if (this.customer.value !== filters.customer) this.customer.value = filters.customer;
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
   * Rewritten only when a customer comes or goes: an open list must not flicker.
   * @param {import("./fleet.js").Fleet} fleet
   * @param {string} chosen
   */
  #draw_customers(fleet, chosen) {
    const names = fleet.customers.filter((_, number) => fleet.customer_sizes[number] > 0).sort();
    if (chosen !== "" && !names.includes(chosen)) names.push(chosen);
    const shown = names.join("\n");
    if (shown === this.customers_shown) return;
    this.customers_shown = shown;
    this.customer.replaceChildren(new Option("All customers", ""), ...names.map((name) => new Option(name, name)));
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
