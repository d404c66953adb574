/**
 * The page /login: signs somebody in with a name and a password, or with a key, or leads to the identity provider,
 * and goes on to the address that was asked for, filters and all. Speaks to the service through reads.js; the cookie
 * itself is out of every script's reach.
 */
import { sign_in } from "./reads.js";
import { trouble_words } from "./sign-in-words.js";
import { address_after_sign_in } from "./url.js";

/** @param {string} id */
const find = (id) => /** @type {HTMLInputElement} */ (document.getElementById(id));

const form = /** @type {HTMLFormElement} */ (document.getElementById("sign-in"));
const fields = ["user", "password", "key"].map(find);

/** Which of the two ways is chosen; the fields of the other are out of sight and not asked for. */
function with_key() {
  const chosen = new FormData(form).get("with") === "key";
  find("with-password").hidden = chosen;
  find("with-key").hidden = !chosen;
  for (const field of fields) field.required = (field.id === "key") === chosen;
  return chosen;
}

/** @param {string} text read aloud too: the element is an alert */
function say(text) {
  find("sign-in-trouble").textContent = text;
  for (const field of fields) field.setAttribute("aria-invalid", String(text !== "" && field.required));
}

/** @param {SubmitEvent} event */
async function submit(event) {
  event.preventDefault();
  const is_key = with_key();
  const [user, password, key] = fields.map((field) => field.value);
  find("go").disabled = true;
  say("");
  const problem = await sign_in(is_key ? { key } : { user: user.trim(), password });
  if (problem === "") {
    location.replace(address_after_sign_in(location));
    return;
  }
  find("go").disabled = false;
  say(problem);
  const again = find(is_key ? "key" : "password");
  again.focus();
  again.select();
}

/** The way to the identity provider, where there is one: what is looked at afterwards goes along. */
const elsewhere = /** @type {HTMLAnchorElement|null} */ (document.getElementById("single-sign-on"));
if (elsewhere !== null) elsewhere.search = new URLSearchParams({ next: address_after_sign_in(location) }).toString();

form.addEventListener("submit", submit);
form.addEventListener("change", (event) => {
  // Not for the fields: theirs comes between press and click of the button, which would move away as the text goes.
  if (/** @type {HTMLInputElement} */ (event.target).name !== "with") return;
  with_key();
  say("");
});
with_key(); // a browser may bring back what was chosen before
find("sign-in-trouble").textContent = trouble_words(location.search);
find("user").focus();
