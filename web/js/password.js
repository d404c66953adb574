/**
 * The page /login/password: gives whoever is signed in another password. Speaks to the service through reads.js;
 * whoever is not signed in is led to the sign-in, and who has no password here is told so.
 */
import { change_password, who_am_i } from "./reads.js";
import { sign_in_address } from "./url.js";

/** @param {string} id */
const find = (id) => /** @type {HTMLInputElement} */ (document.getElementById(id));
const form = /** @type {HTMLFormElement} */ (document.getElementById("change"));
const fields = ["current", "new", "again"].map(find);

/** @param {string} text read aloud too: the element is an alert @param {HTMLInputElement} [field] the one at fault */
function say(text, field) {
  find("change-trouble").textContent = text;
  for (const each of fields) each.setAttribute("aria-invalid", String(each === field));
  field?.focus();
}

/** @param {SubmitEvent} event */
async function submit(event) {
  event.preventDefault();
  const [current, wanted, again] = fields;
  find("change-done").textContent = "";
  if (wanted.value !== again.value) return say("The new password is not the same twice.", again);
  find("go").disabled = true;
  say("");
  const problem = await change_password(current.value, wanted.value);
  find("go").disabled = false;
  if (problem !== "") return say(problem, current);
  form.reset();
  await name();
  find("change-done").textContent = "Your password is changed. All your other sessions have ended.";
}

async function name() {
  const me = await who_am_i();
  if (me === null) location.replace(sign_in_address(location));
  else if (me.kind !== "user") {
    find("go").disabled = true;
    say("Whoever signs in with a key has no password here.");
  } else find("user").value = me.name;
}

form.addEventListener("submit", submit);
name();
