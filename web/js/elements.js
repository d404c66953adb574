/**
 * Small pieces of a page that every pane needs: an element with text, a text written only when it changed, a style
 * sheet, and what went wrong with the way out of it. Used by the panes. Text is only ever written as text.
 */
import { sign_in_address } from "./url.js";

/** @param {string} tag @param {string} name of its class @param {string} [text] */
export function element(tag, name, text = "") {
  const made = document.createElement(tag);
  if (name !== "") made.className = name;
  if (text !== "") made.textContent = text;
  return made;
}

/** @param {string} text @param {() => void} on_click @param {string} [name] of its class */
export function button(text, on_click, name = "") {
  const made = /** @type {HTMLButtonElement} */ (element("button", name, text));
  made.type = "button";
  made.addEventListener("click", on_click);
  return made;
}

/** Writing the value it already has would still wake the style engine. @param {Element} where @param {string} text */
export function write(where, text) {
  if (where.textContent !== text) where.textContent = text;
}

/** A moment as an element that machines can read too. @param {number} time epoch ms @param {string} text */
export function time_element(time, text) {
  const made = element("time", "", text);
  if (!Number.isNaN(time)) made.setAttribute("datetime", new Date(time).toISOString());
  return made;
}

/** Why a part of the page has nothing to show, in its own place: the rest of the page goes on. */
export class Trouble {
  /** @param {HTMLElement} root @param {() => void} on_retry */
  constructor(root, on_retry) {
    this.root = root;
    root.className = "trouble";
    root.setAttribute("role", "alert");
    this.text = element("p", "");
    this.retry = button("Try again", on_retry);
    this.sign_in = /** @type {HTMLAnchorElement} */ (element("a", "", "Sign in"));
    root.replaceChildren(this.text, this.retry, this.sign_in);
    this.clear();
  }

  clear() {
    this.root.hidden = true;
    this.text.textContent = "";
  }

  /** @param {string} what could not be done @param {any} error */
  say(what, error) {
    const status = error?.status ?? 0;
    const why = status === 401 ? "you are not signed in" : error.message;
    write(this.text, `${what}: ${why}`);
    this.sign_in.hidden = status !== 401 && status !== 403;
    this.sign_in.href = sign_in_address(location);
    this.root.hidden = false;
  }
}

/** A library's style sheet, once. @param {string} address @returns {Promise<void>} */
export function load_styles(address) {
  if (document.querySelector(`link[href="${address}"]`) !== null) return Promise.resolve();
  const link = document.createElement("link");
  Object.assign(link, { rel: "stylesheet", href: address });
  return new Promise((done, failed) => {
    link.addEventListener("load", () => done());
    link.addEventListener("error", () => failed(new Error(`cannot load ${address}`)));
    document.head.prepend(link); // before app.css, which has the last word
  });
}
