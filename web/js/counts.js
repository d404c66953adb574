/**
 * The status buttons: how many vehicles there are of each status, and a filter by it.
 * Fed by app.js with the tally; tells app.js what was clicked.
 */
import { STATUS_WORDS, whole } from "./words.js";

export class Counts {
  /** @param {HTMLElement} root @param {(status: string) => void} on_pick "" means all */
  constructor(root, on_pick) {
    /** @type {{status: string, button: HTMLButtonElement, number: Text}[]} */
    this.chips = [];
    root.replaceChildren();
    this.#add(root, on_pick, "", "All", "", "Every vehicle");
    for (const { key, word, shape, meaning } of STATUS_WORDS) this.#add(root, on_pick, key, word, shape, meaning);
  }

  /** @param {number[]|null} tally in the order of STATUS_WORDS; null while unknown @param {string[]} chosen */
  draw(tally, chosen) {
    this.chips.forEach(({ status, button, number }, index) => {
      const count = tally === null ? NaN : index === 0 ? tally.reduce((sum, each) => sum + each, 0) : tally[index - 1];
      const text = Number.isNaN(count) ? "–" : whole(count);
      const pressed = String(status === "" ? chosen.length === 0 : chosen.includes(status));
      if (button.ariaPressed !== pressed) button.ariaPressed = pressed;
      if (number.nodeValue !== text) number.nodeValue = text;
    });
  }

  /**
   * @param {HTMLElement} root
   * @param {(status: string) => void} on_pick
   * @param {string} status
   * @param {string} word
   * @param {string} shape
   * @param {string} meaning
   */
  #add(root, on_pick, status, word, shape, meaning) {
    const button = root.appendChild(document.createElement("button"));
    button.type = "button";
    button.className = "chip";
    button.title = meaning;
    button.dataset.status = status || "all";
    button.addEventListener("click", () => on_pick(status));
    const number = document.createTextNode("");
    for (const [name, content] of /** @type {[string, string|Text][]} */ ([
      ["shape", shape],
      ["word", word],
      ["number", number],
    ])) {
      const span = document.createElement("span");
      span.className = name;
      span.append(content);
      if (name === "shape") span.ariaHidden = "true"; // the word says it
      button.append(span, " "); // read out as "Online 5"
    }
    this.chips.push({ status, button, number });
  }
}
