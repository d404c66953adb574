/**
 * The form that composes an export: what, whose, when, which columns, which format.
 * Fed by exports.js with the customers of the fleet; tells it of an order once that is complete.
 */
import { element, write } from "./elements.js";
import { KINDS, order_of } from "./export-order.js";

/** @typedef {{field: string, problem: string}} FieldError */

export class ExportForm {
  /** @param {Document} page @param {(order: Record<string, any>) => void} on_order */
  constructor(page, on_order) {
    const find = (/** @type {string} */ id) => /** @type {HTMLElement} */ (page.getElementById(id));
    this.on_order = on_order;
    this.form = /** @type {HTMLFormElement} */ (find("export-form"));
    this.customer = /** @type {HTMLSelectElement} */ (find("export-customer"));
    this.columns = find("export-columns");
    this.trouble = find("export-trouble");
    this.submit = /** @type {HTMLButtonElement} */ (find("export-order"));
    this.parts = {
      custom: find("export-custom"),
      period: find("export-period-row"),
      readings: find("export-readings-row"),
    };
    this.server_now = Date.now();
    /** The customers in the list, one a line; null before it was drawn. @type {string|null} */
    this.listed = null;
    const kinds = Object.entries(KINDS).map(([kind, { label }]) => new Option(label, kind));
    find("export-kind").replaceChildren(...kinds);
    this.form.addEventListener("change", (event) => this.#changed(/** @type {HTMLElement} */ (event.target).id));
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#order();
    });
    find("export-columns-all").addEventListener("click", () => this.#tick(true));
    find("export-columns-none").addEventListener("click", () => this.#tick(false));
    this.#changed("export-kind");
  }

  /** The order that was told is on its way, or not any more. @param {boolean} busy */
  set busy(busy) {
    this.submit.disabled = busy;
  }

  /** @param {import("./fleet.js").Fleet} fleet @param {string} customer of the filters @param {number} server_now */
  draw(fleet, customer, server_now) {
    this.server_now = server_now;
    const names = fleet.customers.filter((_, number) => fleet.customer_sizes[number] > 0).sort();
    if (names.join("\n") === this.listed) return;
    // Whom one looks at stands there from the first, known or not.
    const chosen = this.listed === null ? customer : this.customer.value;
    this.listed = names.join("\n");
    const known = chosen === "" || names.includes(chosen) ? names : [...names, chosen];
    this.customer.replaceChildren(new Option("All customers", ""), ...known.map((name) => new Option(name, name)));
    this.customer.value = chosen;
    this.form.hidden = false; // before this, an order would be of everybody, or load the page anew
  }

  /** Says what is wrong, beside the order and at the fields. @param {FieldError[]} errors @param {string} [problem] */
  say(errors, problem = "") {
    const told = errors.map(({ field, problem }) => `${field}: ${problem}`);
    write(this.trouble, [...(problem === "" ? [] : [problem]), ...told].join(". "));
    for (const field of this.form.elements) field.removeAttribute("aria-invalid");
    const fields = errors.flatMap(({ field }) => this.#field(field) ?? []);
    for (const field of fields) field.setAttribute("aria-invalid", "true");
    fields[0]?.focus();
  }

  /** @param {string} name as in an order @returns {HTMLElement|undefined} */
  #field(name) {
    if (name === "columns") return this.columns.querySelector("input") ?? undefined;
    return this.form.querySelector(`#export-${CSS.escape(name.split(/[.[]/)[0])}`) ?? undefined;
  }

  /** @param {string} id of what was chosen anew */
  #changed(id) {
    const { kind, period } = this.#chosen();
    const { timeless, readings } = KINDS[kind];
    if (id === "export-kind") this.#list_columns(KINDS[kind].columns);
    this.parts.period.hidden = timeless === true;
    this.parts.custom.hidden = timeless === true || period !== "custom";
    this.parts.readings.hidden = readings !== true;
  }

  /** @param {string[]} names */
  #list_columns(names) {
    this.columns.replaceChildren(
      ...names.map((name) => {
        const label = element("label", "");
        const box = Object.assign(document.createElement("input"), {
          type: "checkbox",
          name: "column",
          value: name,
          checked: true,
        });
        label.append(box, ` ${name}`);
        return label;
      }),
    );
  }

  /** @param {boolean} on */
  #tick(on) {
    for (const box of this.columns.querySelectorAll("input")) box.checked = on;
  }

  /** @returns {import("./export-order.js").Chosen} */
  #chosen() {
    const data = new FormData(this.form);
    const text = (/** @type {string} */ name) => String(data.get(name) ?? "");
    const fields = ["kind", "format", "customer", "vehicles", "period", "from", "to", "readings"];
    const chosen = Object.fromEntries(fields.map((name) => [name, text(name)]));
    return /** @type {any} */ ({ ...chosen, columns: data.getAll("column").map(String) });
  }

  #order() {
    const { order, errors } = order_of(this.#chosen(), this.server_now);
    this.say(errors);
    if (errors.length === 0) this.on_order(order);
  }
}
