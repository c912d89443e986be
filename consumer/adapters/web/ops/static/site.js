// What all pages do: times in the reader's zone, tables that the keyboard can scroll, and calls that change something.

const UNSAFE = new RegExp(
  "[\\0-\\x1f\\x7f-\\x9f\\xad\\u061c\\u180e\\u200b\\u200e\\u200f\\u2028-\\u202e\\u2060-\\u206f\\ufeff\\ufff9-\\ufffb" +
    "\\ud800-\\udfff\\u{e0000}-\\u{e007f}]",
  "gu",
);

// Text of strangers, with what is not to be seen as an escape; `printable` of consumer/domain/text.py.
export function printable(text) {
  return String(text).replace(UNSAFE, (found) => {
    const code = found.codePointAt(0);
    if (found === "\t") {
      return "    ";
    }
    if (code < 0xa0) {
      return `\\x${code.toString(16).padStart(2, "0")}`;
    }
    return code <= 0xffff ? `\\u${code.toString(16).padStart(4, "0")}` : `\\U${code.toString(16).padStart(8, "0")}`;
  });
}

// Seconds in the two largest units that matter; `duration` of consumer/domain/text.py.
export function duration(seconds) {
  const whole = Math.round(seconds);
  if (whole < 60) {
    return `${whole} s`;
  }
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) {
    return `${minutes} min ${whole % 60} s`;
  }
  const hours = Math.floor(minutes / 60);
  return hours < 24 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

// An element with attributes and children; children that are no elements are text.
export function made(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

const DAY = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

function localised(time) {
  // As Postgres writes it, or as ISO 8601 has it.
  const text = time.getAttribute("datetime").replace(" ", "T").replace(/([+-]\d\d)$/, "$1:00");
  const at = new Date(text);
  if (!Number.isNaN(at.getTime())) {
    time.title = at.toISOString().replace("T", " ").replace("Z", " UTC");
    time.textContent = DAY.format(at);
  }
}

// What is wider than its place can be scrolled by the keyboard as well, and says what it is.
function reachable(box) {
  if (box.tabIndex === 0 && !box.dataset.reached) {
    return; // the page has seen to it
  }
  if (box.scrollWidth > box.clientWidth) {
    box.dataset.reached = "yes";
    box.tabIndex = 0;
    box.setAttribute("role", "region");
    const head = box.querySelector("caption") ?? box.closest(".card")?.querySelector("h2") ?? document.querySelector("h1");
    box.setAttribute("aria-label", head?.textContent.trim() || "Table");
  } else if (box.dataset.reached) {
    for (const name of ["data-reached", "tabindex", "role", "aria-label"]) {
      box.removeAttribute(name);
    }
  }
}

const sizes = new ResizeObserver((changes) => changes.forEach((change) => reachable(change.target.closest(".scroll"))));

function improve(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    localised(time);
  }
  if (root.matches?.("time[datetime]")) {
    localised(root);
  }
  for (const box of root.querySelectorAll(".scroll")) {
    sizes.observe(box);
    for (const content of box.children) {
      sizes.observe(content);
    }
  }
}

improve(document);
new MutationObserver((changes) => {
  for (const change of changes) {
    if (change.type === "attributes") {
      localised(change.target);
    }
    for (const node of change.addedNodes) {
      if (node.nodeType === Node.ELEMENT_NODE) {
        improve(node);
      }
    }
  }
}).observe(document.body, { childList: true, subtree: true, attributeFilter: ["datetime"] });

// Asks before something is done: `question` is the title, `text` says what will happen, `yes` names the button.
export function confirmed({ question, text = "", yes, danger = false }) {
  return new Promise((resolve) => {
    const go = made("button", { value: "yes", class: danger ? "danger" : "primary" }, yes);
    const dialog = made(
      "dialog",
      { "aria-labelledby": "question" },
      made("h2", { id: "question" }, question),
      ...(text ? [made("p", {}, text)] : []),
      made("form", { method: "dialog", class: "actions" }, made("button", { value: "no", autofocus: "" }, "Cancel"), go),
    );
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

// Has the service change something; returns what its answer says. The header keeps other sites from doing the same.
export async function act(address, fields) {
  const answer = await fetch(address, {
    method: "POST",
    headers: { "X-Webhook-Router": "1" },
    body: new URLSearchParams(fields),
  });
  const text = await answer.text();
  if (!answer.ok) {
    throw new Error(text.trim() || `the service answers ${answer.status}`);
  }
  return JSON.parse(text);
}
