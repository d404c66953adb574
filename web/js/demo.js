/**
 * In the demo, two buttons in the panel of a vehicle: silence it, and wake it, so that a newcomer sees cause and
 * effect. Made by panes.js in the demo only, and told which vehicle is open; gives its orders through reads.js.
 */
import { order_demo_vehicle } from "./reads.js";
import { duration } from "./words.js";

export class DemoButtons {
  /** @param {Document} page */
  constructor(page) {
    const find = (/** @type {string} */ id) => /** @type {HTMLElement} */ (page.getElementById(id));
    this.root = find("demo");
    this.answer = find("demo-answer");
    this.customer = "";
    this.vehicle = "";
    this.offline_after_ms = NaN;
    /** The order that was taken last. @type {"silence"|"wake"|null} */
    this.taken = null;
    find("demo-silence").addEventListener("click", () => this.#order("silence"));
    find("demo-wake").addEventListener("click", () => this.#order("wake"));
    this.root.hidden = false;
  }

  /**
   * @param {string} customer
   * @param {string} vehicle
   * @param {number} offline_after_ms its timeout; NaN: not known yet
   */
  show(customer, vehicle, offline_after_ms) {
    const same = this.customer === customer && this.vehicle === vehicle;
    const known = Object.is(offline_after_ms, this.offline_after_ms);
    this.offline_after_ms = offline_after_ms;
    if (!same) {
      Object.assign(this, { customer, vehicle, taken: null });
      this.answer.textContent = "";
    } else if (!known && this.taken !== null) {
      this.answer.textContent = this.#said(this.taken); // the panel read the timeout only now
    }
  }

  /** @param {"silence"|"wake"} order */
  async #order(order) {
    const { customer, vehicle } = this;
    const trouble = await order_demo_vehicle(customer, vehicle, order);
    if (this.vehicle !== vehicle || this.customer !== customer) return;
    this.taken = trouble === "" ? order : null;
    this.answer.textContent = trouble || this.#said(order);
  }

  /** @param {"silence"|"wake"} order */
  #said(order) {
    if (order === "wake") return "It speaks again.";
    const timeout = Number.isNaN(this.offline_after_ms) ? "its timeout" : duration(this.offline_after_ms);
    return `It says nothing more. ${timeout} after its last heartbeat it is offline.`;
  }
}
