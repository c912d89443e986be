// Retry and discard: one event, those that are selected, or all of a filter. The service counts before it is asked to act,
// and says what it did; then the page is read again, without losing its place.
import { act, confirmed } from "./site.js";

const LOOKS = [0, 1500, 3000, 6000, 10000]; // ms after an action: a retry is done by the next sweep, which comes at once

const outcome = document.getElementById("outcome");
const failure = document.getElementById("failure");
let looks = [];

function boxes() {
  return [...document.querySelectorAll("#found input[name=id]")];
}

function selected() {
  return boxes().filter((box) => box.checked);
}

function say(element, text) {
  outcome.textContent = "";
  failure.textContent = "";
  element.textContent = text;
  element.focus();
}

function choices(button) {
  if (button.dataset.of === "all") {
    return [...new URLSearchParams(button.parentElement.dataset.filter), ["all", "1"]];
  }
  const ids = button.dataset.of === "selected" ? selected().map((box) => box.value) : [button.dataset.of];
  return ids.map((id) => ["id", id]);
}

async function count(fields) {
  const answer = await fetch(`parked-count?${new URLSearchParams(fields)}`);
  const text = await answer.text();
  if (!answer.ok || !answer.headers.get("content-type")?.startsWith("application/json")) {
    throw new Error((answer.ok ? "" : text.trim()) || `the service answers ${answer.status}`);
  }
  return JSON.parse(text);
}

async function press(button) {
  const decision = button.dataset.do;
  const fields = [["do", decision], ...choices(button)];
  try {
    const counted = await count(fields);
    if (counted.events === 0) {
      say(outcome, counted.said);
      look();
      return;
    }
    const events = `${counted.events.toLocaleString("en")} event${counted.events === 1 ? "" : "s"}`;
    const name = decision === "retry" ? "Retry" : "Discard";
    const question = { question: `${name} ${events}?`, text: counted.said, yes: `${name} ${events}`, danger: decision === "discard" };
    if (!(await confirmed(question))) {
      document.querySelector(`[data-do=${decision}][data-of="${button.dataset.of}"]`)?.focus();
      return;
    }
    const confirmation = [["as_of", counted.as_of], ["events", String(counted.events)]];
    const done = await act("parked", [...fields, ...confirmation]);
    say(outcome, done.said);
    look();
  } catch (error) {
    say(failure, error instanceof TypeError ? "The service does not answer; nothing is known to have changed." : error.message);
  }
}

// Reads the page again, now and a few times more, unless somebody is selecting on it: what was selected before is done.
function look() {
  boxes().forEach((box) => {
    box.checked = false;
  });
  update();
  looks.forEach(clearTimeout);
  looks = LOOKS.map((after) => setTimeout(() => again(after === 0).catch(() => {}), after));
}

async function again(first) {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (!answer.ok && answer.status !== 404) {
    return;
  }
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("found");
  const old = document.getElementById("found");
  if (old === null || selected().length > 0 || (!first && old.contains(document.activeElement))) {
    return;
  }
  if (fresh === null) {
    looks.forEach(clearTimeout);
    old.remove();
    outcome.textContent += " It is not parked any more.";
    return;
  }
  old.replaceWith(document.adoptNode(fresh));
  prepare();
}

function update() {
  const some = selected().length;
  const every = document.getElementById("every");
  if (every) {
    every.checked = some > 0 && some === boxes().length;
    every.indeterminate = some > 0 && !every.checked;
  }
  for (const button of document.querySelectorAll("[data-of=selected]")) {
    button.disabled = some === 0;
  }
}

function prepare() {
  for (const hidden of document.querySelectorAll("#found .actions, #found input[type=checkbox]")) {
    hidden.hidden = false;
  }
  update();
}

document.addEventListener("change", (event) => {
  if (event.target.id === "every") {
    boxes().forEach((box) => {
      box.checked = event.target.checked;
    });
  }
  update();
});

document.addEventListener("click", (event) => {
  const button = event.target.closest("#found button[data-do]");
  if (button) {
    press(button);
  }
});

prepare();
