/**
 * Who is signed in, the way to one's password, and the way out, in the header. Shown to whoever came in by a
 * session; where nobody is asked there is nobody to name. Loaded by panes.js, after the first paint; speaks through
 * reads.js.
 */
import { sign_out, who_am_i } from "./reads.js";
import { sign_in_address } from "./url.js";

export class Account {
  /** @param {Document} page */
  constructor(page) {
    const find = (/** @type {string} */ id) => /** @type {HTMLElement} */ (page.getElementById(id));
    this.root = find("account");
    this.name = /** @type {HTMLAnchorElement} */ (find("account-name"));
    this.out = /** @type {HTMLButtonElement} */ (find("sign-out"));
    this.out.addEventListener("click", () => this.#leave());
    this.#read();
  }

  async #read() {
    const me = await who_am_i();
    this.root.hidden = me === null || me.kind === "anybody";
    if (me === null || me.kind === "anybody") return;
    this.name.textContent = me.kind === "key" ? `key ${me.name}` : me.name;
    if (me.kind === "user") this.name.href = "/login/password";
    this.root.title = me.customer === null ? "All customers" : `Customer ${me.customer}`;
  }

  async #leave() {
    this.out.disabled = true;
    const problem = await sign_out();
    this.out.disabled = false;
    if (problem === "") location.assign(sign_in_address(location));
    else this.name.textContent = problem;
  }
}
