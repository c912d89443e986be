// Keeps the overview up to date by what the service sends, and draws its charts.

import { Chart } from "./chart.js";
import { duration, made, printable } from "./site.js";

const KEPT = 15 * 60; // seconds
const RECENT = 10;
const SILENCE = 5000; // milliseconds without a message after which a connection is given up
const LONGEST = 10000; // between two attempts

const known = JSON.parse(document.getElementById("tiles").dataset.known);
const seconds = [];

function whole(value) {
  return value.toLocaleString("en-US");
}

function counted(number, one, more = `${one}s`) {
  return `${whole(number)} ${number === 1 ? one : more}`;
}

// `rate`, `latency` and `because` say what those of overview.py say.
export function rate(value) {
  return value >= 10 || value === 0 ? whole(Math.round(value)) : value.toFixed(1);
}

export function latency(value) {
  if (value < 0.0995) {
    return `${(value * 1000).toFixed(1)} ms`;
  }
  if (value < 0.9995) {
    return `${Math.round(value * 1000)} ms`;
  }
  return value < 60 ? `${value.toFixed(1)} s` : duration(value);
}

function sum(values) {
  return values.reduce((total, value) => total + value, 0);
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

// Text is changed only where it differs: what somebody has selected stays selected.
function say(id, text) {
  const element = document.getElementById(id);
  if (element && element.textContent !== text) {
    element.textContent = text;
  }
}

// Text in which commands stand between back quotes, as they do in the log.
function words(text) {
  return printable(text).split("`").map((part, place) => (place % 2 ? made("code", {}, part) : part));
}

function sayWords(id, text) {
  const element = document.getElementById(id);
  if (element.textContent !== printable(text).replaceAll("`", "")) {
    element.replaceChildren(...words(text));
  }
}

function badge(id, text, kind) {
  say(id, text);
  document.getElementById(id).className = `badge ${kind}`;
}

function time(at) {
  const iso = new Date(at * 1000).toISOString();
  return made("time", { datetime: iso }, iso);
}

function sayWhen(id, at) {
  const place = document.getElementById(id);
  const shown = time(at);
  if (place.querySelector("time")?.getAttribute("datetime") !== shown.getAttribute("datetime")) {
    place.replaceChildren(shown);
  }
}

// The rows of a table, each a list of cells; a cell is text or an element, the first one is the row's head.
function rows(id, all, numeric) {
  const table = document.getElementById(id);
  if (!table) {
    return;
  }
  const body = made("tbody");
  for (const cells of all) {
    body.append(made("tr", {}, ...cells.map((cell, place) => {
      const parts = Array.isArray(cell) ? cell : [cell];
      if (place === 0) {
        return made("th", { scope: "row" }, ...parts);
      }
      return made("td", numeric.includes(place) ? { class: "number" } : {}, ...parts);
    })));
  }
  if (!table.tBodies[0].isEqualNode(body)) {
    table.tBodies[0].replaceWith(body);
  }
  table.closest(".scroll").hidden = all.length === 0;
}

// The figures at the top and the charts

function seriesOf(found) {
  const order = [...known.paths, "parked"];
  return order.filter((name) => found.has(name)).map((name) => ({ name, label: name }));
}

const none = Object.fromEntries(known.paths.map((path) => [path, 0])); // a path without events is not among those sent
const mean = (values, _name, places) => sum(values) / places;
const throughput = new Chart(document.getElementById("throughput"), {
  title: "Throughput in events a second, by path",
  series: [],
  stacked: true,
  of: (second) => ({ ...none, ...second.routed, parked: second.parked }),
  joined: mean,
  written: (value) => (Number.isInteger(value) ? whole(value) : rate(value)),
  least: 4,
});
const latencies = new Chart(document.getElementById("latency"), {
  title: "Latency from arrival to the commit",
  series: [{ name: "p99", label: "p99" }, { name: "p50", label: "p50" }],
  stacked: false,
  of: (second) => ({ p50: second.p50, p99: second.p99 }),
  joined: (values, name) => (name === "p99" ? Math.max(...values) : median(values)),
  written: (value) => latency(value).replace(".0 ", " "),
  decades: true,
});
const deliveries = new Chart(document.getElementById("deliveries"), {
  title: "Deliveries a second",
  series: [{ name: "taken", label: "stored" }, { name: "turned_down", label: "turned down" }],
  stacked: true,
  of: (second) => ({ taken: second.taken, turned_down: second.turned_down }),
  joined: mean,
  written: (value) => (Number.isInteger(value) ? whole(value) : rate(value)),
  least: 4,
});

function minutes() {
  return Number(document.querySelector("input[name=minutes]:checked").value);
}

function draw() {
  if (!seconds.length) {
    return;
  }
  const recent = seconds.slice(-RECENT);
  const value = (id, text) => {
    const element = document.querySelector(`#${id} .value`);
    if (element.textContent !== text) {
      element.textContent = text;
    }
  };
  const halves = recent.map((second) => second.p50).filter((each) => each !== null);
  const worst = recent.map((second) => second.p99).filter((each) => each !== null);
  value("rate", rate(sum(recent.map((second) => sum(Object.values(second.routed)))) / recent.length));
  value("p50", halves.length ? latency(median(halves)) : "–");
  value("p99", worst.length ? latency(Math.max(...worst)) : "–");
  document.getElementById("charts").hidden = false;
  const paths = new Set([first]);
  let delivered = false;
  for (const second of seconds) {
    for (const [path, count] of Object.entries(second.routed)) {
      if (count) {
        paths.add(path);
      }
    }
    if (second.parked) {
      paths.add("parked");
    }
    delivered ||= second.taken > 0 || second.turned_down > 0;
  }
  throughput.series = seriesOf(paths);
  throughput.show(seconds, minutes());
  latencies.show(seconds, minutes());
  document.getElementById("deliveries").hidden = !delivered;
  if (delivered) {
    deliveries.show(seconds, minutes());
  }
}

// Everything else

let first = "hot";

export function because(now) {
  const reasons = now.stalled.length ? [`no progress of ${now.stalled.join(", ")}`] : [];
  reasons.push(...now.faults);
  if (reasons.length) {
    return reasons.join("; ");
  }
  if (!now.is_ready) {
    return "it is starting: its loops have not all gone round once";
  }
  const { backlog } = now;
  return backlog?.ready && backlog.oldest_seconds > known.behind
    ? `events are routed, and it is behind: the oldest waits for ${duration(backlog.oldest_seconds)}`
    : "events are routed as they come";
}

function waits({ at, backlog, backlog_at: counted }) {
  const ago = counted && at - counted > known.behind ? `${duration(at - counted)} ago` : "";
  if (backlog.ready) {
    return `oldest ${duration(backlog.oldest_seconds)}${ago && `, counted ${ago}`}`;
  }
  return ago ? `nothing waited ${ago}` : "nothing waits";
}

function tile(id, value, hint, kind) {
  const element = document.getElementById(id);
  element.querySelector(".value").textContent = value;
  element.querySelector(".hint").textContent = hint;
  element.className = kind;
}

function show(now) {
  first = now.source === "kafka" ? "kafka" : "hot";
  badge("ready", now.is_ready ? "ready" : "not ready", now.is_ready ? "good" : "bad");
  sayWords("because", because(now));
  // Another process may answer at the same address: after a restart, or behind a balancer.
  say("seen-by", printable(`${now.database} on ${now.host}, seen by ${now.replica}`));
  say("replica", printable(now.replica));
  say("version", now.version);
  sayWhen("since", now.started_at);
  const { backlog } = now;
  if (backlog) {
    tile("waiting", whole(backlog.ready), waits(now), "");
    tile("parked", whole(backlog.parked), "to be tried again", backlog.parked ? "warning" : "");
    tile("dead", whole(backlog.dead), "no attempt is left", backlog.dead ? "bad" : "");
    say("queue", `${Math.round(backlog.notification_queue * 100)}% full`);
    sayWhen("counted", now.backlog_at);
  }
  badge("listener", now.listener, { up: "good", polling: "waiting" }[now.listener] ?? "");
  say("listener-words", known.listener[now.listener] ?? "");
  badge("doorbell", now.doorbell || "unknown", now.doorbell === "rings" ? "good" : now.doorbell ? "waiting" : "");
  sayWords("doorbell-words", now.doorbell ? (known.doorbell[now.doorbell] ?? "") : "not looked at yet");
  showChannels(now.by_channel);
  showReplicas(now);
  showLags(now.lags);
  showDeliveries(now);
  showTroubles(now.troubles);
}

function showChannels(found) {
  const channels = found?.channels ?? [];
  rows("channels", channels.map((each) => [printable(each.channel), whole(each.ready), duration(each.oldest_seconds)]), [1, 2]);
  let note = "";
  if (!found) {
    note = "It is counted while somebody looks: in a moment.";
  } else if (found.is_partial) {
    note = "There are too many: only the oldest were counted.";
  } else if (!channels.length) {
    note = "Nothing waits.";
  }
  say("channels-note", note);
}

function showReplicas(now) {
  const replicas = now.by_channel?.replicas ?? [];
  rows("replicas", replicas.map((each) => [
    [printable(each.name), ...(each.name === now.replica ? [" ", made("span", { class: "badge" }, "this one")] : [])],
    [printable(each.version || "earlier"), ...(each.version === now.version ? [] : [" ", made("span", { class: "badge waiting" }, `not ${now.version}`)])],
    each.seconds === null ? made("span", { class: "none" }, "not told") : duration(each.seconds),
  ]), [2]);
}

function showLags(lags) {
  const named = lags.map((lag) => {
    const [topic, partition] = Array.isArray(lag.partition) ? lag.partition : [lag.partition.topic, lag.partition.partition];
    return { ...lag, topic, number: partition };
  });
  named.sort((a, b) => b.records - a.records || (a.topic < b.topic ? -1 : a.topic > b.topic ? 1 : a.number - b.number));
  rows("lags", named.slice(0, known.most_partitions).map((lag) => [
    `${printable(lag.topic)}/${lag.number}`, whole(lag.records), duration(lag.seconds), lag.withheld ? whole(lag.withheld) : "",
  ]), [1, 2, 3]);
  const behind = sum(lags.map((lag) => lag.records));
  say("lags-note", lags.length
    ? `${counted(behind, "record")} behind in ${counted(lags.length, "partition")} of this replica.`
    : "No partition is assigned to this replica.");
}

function showDeliveries(now) {
  rows("providers", now.deliveries.map((each) => [
    printable(each.provider),
    whole(each.outcomes.taken ?? 0),
    whole(each.outcomes.deferred ?? 0),
    known.turned_down.filter(([outcome]) => each.outcomes[outcome])
      .map(([outcome, words]) => `${whole(each.outcomes[outcome])} ${words}`).join(", ") || "0",
    each.unknown ? made("a", { href: "deliveries" }, whole(each.unknown)) : "0",
  ]), [1, 2, 4]);
  say("providers-note", now.deliveries.length ? "Since this replica began." : "None came to this replica.");
  const { intake } = now;
  const waiting = intake ? sum(Object.values(intake.waiting)) : 0;
  const since = (seconds) => (seconds ? `, the oldest for ${duration(seconds)}` : "");
  say("intake", intake && (intake.deferred || waiting)
    ? `Stored and not in effect: ${counted(intake.deferred, "delivery", "deliveries")}${since(intake.deferred && intake.deferred_seconds)}; ` +
      `${counted(waiting, "effect")} without what ${waiting === 1 ? "it changes" : "they change"}${since(intake.waiting_seconds)}.`
    : "");
}

function showTroubles(troubles) {
  const list = document.getElementById("troubles");
  const items = troubles.slice(0, known.most_troubles).map((each) => {
    const details = made("p", { class: "details" }, time(each.at), each.count > 1 ? ` · ${whole(each.count)} times` : "");
    for (const [key, text] of Object.entries(each.details)) {
      details.append(` · ${printable(key)}: ${printable(text)}`);
    }
    const told = made("div", {}, made("p", { class: "what" }, ...words(each.event)), details);
    if (each.runbook) {
      told.append(made("a", { href: each.runbook, rel: "noopener noreferrer" }, "What to do"));
    }
    return made("li", {}, made("span", { class: `badge ${each.level}` }, each.level), told);
  });
  const shown = JSON.stringify(troubles);
  if (list.dataset.shown !== shown) {
    list.dataset.shown = shown;
    list.replaceChildren(...items);
  }
  say("troubles-note", troubles.length
    ? "Warnings and errors of the log of this replica, the latest first."
    : "None since this replica began.");
}

function add(more) {
  for (const second of more) {
    // A clock that was set back begins again; what has come already is not taken twice.
    while (seconds.length && seconds.at(-1).at >= second.at) {
      seconds.pop();
    }
    seconds.push(second);
  }
  seconds.splice(0, Math.max(0, seconds.length - KEPT));
}

// The connection: it ends while the page is hidden, and begins again when it is shown, or was lost.

const connection = document.getElementById("connection");
let source = null;
let timer = null; // of the next attempt, or of the end of patience
let attempts = 0;

function told(kind, text) {
  connection.hidden = false;
  if (connection.textContent !== text) {
    connection.textContent = text;
    connection.className = `state ${kind}`;
  }
}

function close() {
  clearTimeout(timer);
  source?.close();
  source = null;
}

function open() {
  close();
  if (document.visibilityState === "hidden") {
    return;
  }
  source = new EventSource("stream");
  timer = setTimeout(silent, SILENCE);
  source.addEventListener("error", lost);
  source.addEventListener("history", (event) => {
    seconds.length = 0;
    heard(() => add(JSON.parse(event.data)));
  });
  source.addEventListener("now", (event) => {
    const data = JSON.parse(event.data);
    heard(() => {
      add(data.seconds);
      show(data.overview);
    });
  });
}

function heard(take) {
  attempts = 0;
  clearTimeout(timer);
  timer = setTimeout(silent, SILENCE);
  take();
  draw();
  told("live", "live");
}

// A laptop that wakes up, or a network that takes everything and delivers nothing, tells of no error.
function silent() {
  attempts += 1;
  lost();
}

function lost() {
  close();
  if (document.visibilityState === "hidden") {
    return;
  }
  // The service ends each stream after a while: nothing is wrong if the next one begins.
  if (attempts > 0) {
    told("lost", "not connected, trying again");
    badge("ready", "not known", "");
    sayWords("because", "what this page shows is what was so when it was last told");
  }
  timer = setTimeout(again, Math.min(LONGEST, 400 * 1.6 ** attempts) * (0.8 + 0.4 * Math.random()));
  attempts += 1;
}

// Where the service answers and lets nobody in without a log-in, the page itself leads there.
async function again() {
  open();
  const answer = await fetch("./", { method: "HEAD" }).catch(() => null);
  if (answer?.status === 401) {
    location.reload();
  }
}

document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "hidden") {
    close();
  } else {
    attempts = 0;
    open();
  }
});
addEventListener("pagehide", close);
addEventListener("pageshow", (event) => event.persisted && open());
addEventListener("online", open);
for (const input of document.querySelectorAll("input[name=minutes]")) {
  input.addEventListener("change", draw);
}
told("", "connecting");
open();
