/**
 * How available a vehicle was over the last day, week and month, with the rule in words.
 * Fed by drawer.js with the vehicle; reads through reads.js when the panel opens and then once a minute.
 */
import { Trouble, element, write } from "./elements.js";
import { availability_of } from "./reads.js";
import { duration, percent } from "./words.js";

const DAY_MS = 86_400_000;
const PERIODS = [
  { name: "24 h", ms: DAY_MS },
  { name: "7 d", ms: 7 * DAY_MS },
  { name: "30 d", ms: 30 * DAY_MS },
];
const AGAIN_AFTER_MS = 60_000;

export class Availability {
  /** @param {Document} page */
  constructor(page) {
    const find = (/** @type {string} */ id) => /** @type {HTMLElement} */ (page.getElementById(id));
    this.cells = PERIODS.map(({ name }) => {
      const cell = find("drawer-availability").appendChild(element("div", "period"));
      const [value, what] = [element("dd", "share"), element("dd", "quiet")];
      cell.append(element("dt", "", name), value, what);
      return { value, what };
    });
    this.trouble = new Trouble(find("drawer-availability-trouble"), () => this.#read());
    this.reading = new AbortController();
    this.customer = "";
    this.vehicle = "";
    this.server_now = NaN;
    this.read_at = NaN;
  }

  /** @param {string} customer @param {string} vehicle @param {number} server_now */
  open(customer, vehicle, server_now) {
    Object.assign(this, { customer, vehicle, server_now, read_at: NaN });
    for (const { value, what } of this.cells) {
      write(value, "…");
      write(what, "");
    }
    this.trouble.clear();
  }

  close() {
    this.reading.abort();
  }

  /** @param {number} server_now */
  draw(server_now) {
    this.server_now = server_now;
    if (Number.isNaN(server_now) || server_now - this.read_at < AGAIN_AFTER_MS) return;
    this.read_at = server_now;
    this.#read();
  }

  async #read() {
    this.reading.abort();
    const { signal } = (this.reading = new AbortController());
    const to = Math.floor(this.server_now);
    try {
      const answers = await Promise.all(
        PERIODS.map(({ ms }) => availability_of(this.customer, this.vehicle, to - ms, to, signal)),
      );
      if (signal.aborted) return;
      this.trouble.clear();
      answers.forEach((answer, at) => {
        write(this.cells[at].value, percent(answer.availability));
        write(this.cells[at].what, in_words(answer));
      });
    } catch (error) {
      if (!signal.aborted) this.trouble.say("The availability could not be read", error);
    }
  }
}

/** "2 outages, longest 4 min; unobserved 1 min" @param {any} answer */
function in_words({ availability, outages, longest_outage_ms, unobserved_ms }) {
  if (availability === null) return "never observed";
  const dark = outages === 0 ? "no outage" : `${outages} ${outages === 1 ? "outage" : "outages, longest"}`;
  const length =
    outages === 0 ? "" : outages === 1 ? ` of ${duration(longest_outage_ms)}` : ` ${duration(longest_outage_ms)}`;
  return `${dark}${length}${unobserved_ms > 0 ? `; unobserved ${duration(unobserved_ms)}` : ""}`;
}
