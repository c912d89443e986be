// Charts of seconds, drawn as SVG in pixels of the page, so that text in them is as large as other text.

import { made } from "./site.js";

const SPACE = "http://www.w3.org/2000/svg";
const HEIGHT = 190;
const ABOVE = 8;
const BELOW = 22;
const SMALLEST = 1e-4; // of what is drawn on a logarithmic axis
const SHORTEST = 60; // seconds that a chart has at least
const APART = [15, 30, 60, 180, 300]; // seconds between times that are written below
const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const EXACT = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });

function drawn(name, attributes, text) {
  const element = document.createElementNS(SPACE, name);
  for (const [key, value] of Object.entries(attributes)) {
    element.setAttribute(key, value);
  }
  if (text !== undefined) {
    element.textContent = text;
  }
  return element;
}

// The round number at or above, and how many steps lead to it.
function scale(most) {
  const power = 10 ** Math.floor(Math.log10(most));
  for (const [factor, steps] of [[1, 4], [1.5, 3], [2, 4], [3, 3], [4, 4], [5, 5], [6, 3], [8, 4], [10, 4]]) {
    if (most <= factor * power * 1.0001) {
      return [factor * power, steps];
    }
  }
  return [10 * power, 4];
}

export class Chart {
  // series: [{name, label}], in the order in which they are stacked, or lie one over the other.
  // of(second): what a second brings to each, by name; null: nothing that can be shown.
  // joined(values): what several seconds that share a place are shown as.
  // written(value): with its unit. least: where the axis ends at least. decades: whether it is logarithmic.
  constructor(figure, { series, stacked, of, joined, written, least = 0, decades = false, title }) {
    Object.assign(this, { figure, series, stacked, of, joined, written, least, decades, title });
    this.canvas = figure.querySelector(".canvas");
    this.legend = figure.querySelector(".legend");
    this.seconds = [];
    this.minutes = 5;
    this.pointed = null;
    new ResizeObserver(() => this.draw()).observe(this.canvas);
    this.canvas.addEventListener("pointermove", (event) => this.#point(event.clientX));
    this.canvas.addEventListener("pointerdown", (event) => this.#point(event.clientX));
    this.canvas.addEventListener("pointerleave", () => this.#point(null));
  }

  show(seconds, minutes) {
    this.seconds = seconds;
    this.minutes = minutes;
    this.draw();
  }

  // Several seconds share a place where there is no pixel for each; places keep their seconds as time goes on.
  #places(from, to, width) {
    const step = Math.max(1, Math.ceil((to - from) / width), Math.ceil((to - from) / 320));
    const places = new Map();
    for (const second of this.seconds) {
      if (second.at >= from && second.at < to) {
        const at = Math.floor(second.at / step) * step;
        if (!places.has(at)) {
          places.set(at, []);
        }
        places.get(at).push(this.of(second));
      }
    }
    return [...places].map(([at, several]) => {
      const values = {};
      for (const { name } of this.series) {
        const known = several.map((each) => each[name]).filter((value) => value !== null && value !== undefined);
        values[name] = known.length ? this.joined(known, name, several.length) : null;
      }
      return { at: at + step / 2, values };
    });
  }

  draw() {
    const width = this.canvas.clientWidth;
    if (!width || !this.seconds.length) {
      return;
    }
    const to = this.seconds.at(-1).at + 1;
    const span = Math.min(this.minutes * 60, Math.max(SHORTEST, to - this.seconds[0].at));
    const from = to - span;
    const places = this.#places(from, to, width);
    const { marks, share } = this.decades ? this.#decades(places) : this.#linear(places);
    const left = 14 + Math.max(...marks.map((mark) => this.written(mark).length)) * 6.2;
    const x = (at) => left + ((at - from) / (to - from)) * (width - left);
    const y = (value) => ABOVE + (1 - share(value)) * (HEIGHT - ABOVE - BELOW);
    const svg = drawn("svg", { role: "img", viewBox: `0 0 ${width} ${HEIGHT}`, "aria-labelledby": `${this.figure.id}-title ${this.figure.id}-desc` });
    svg.append(
      drawn("title", { id: `${this.figure.id}-title` }, `${this.title}, the last ${Math.round(span / 60)} min`),
      drawn("desc", { id: `${this.figure.id}-desc` }, this.#description(places)),
    );
    for (const mark of marks) {
      svg.append(
        drawn("line", { class: "grid", x1: left, x2: width, y1: y(mark), y2: y(mark) }),
        drawn("text", { class: "axis", x: left - 8, y: y(mark) + 4, "text-anchor": "end" }, this.written(mark)),
      );
    }
    const apart = APART.find((step) => span / step <= Math.max(3, Math.min(6, width / 90))) ?? APART.at(-1);
    const clock = apart < 60 ? EXACT : CLOCK;
    const half = apart < 60 ? 26 : 16;
    for (let at = Math.ceil(from / apart) * apart; at <= to; at += apart) {
      if (x(at) - half > left && x(at) + half < width) {
        svg.append(drawn("text", { class: "axis", x: x(at), y: HEIGHT - 5, "text-anchor": "middle" }, clock.format(at * 1000)));
      }
    }
    svg.append(...(this.stacked ? this.#areas(places, x, y) : this.#lines(places, x, y)));
    this.at = { places, x };
    this.cursor = drawn("line", { class: "cursor", y1: ABOVE, y2: HEIGHT - BELOW, visibility: "hidden" });
    svg.append(this.cursor);
    this.canvas.replaceChildren(svg);
    this.#tell();
  }

  // Where lines are drawn across, and how far up a value is, from 0 to 1.
  #linear(places) {
    const total = (values) => this.series.reduce((sum, { name }) => sum + (values[name] ?? 0), 0);
    const highest = (values) => this.series.reduce((most, { name }) => Math.max(most, values[name] ?? 0), 0);
    const most = places.reduce((high, { values }) => Math.max(high, (this.stacked ? total : highest)(values)), this.least);
    const [top, steps] = scale(most);
    return { marks: Array.from({ length: steps + 1 }, (_, step) => (top * step) / steps), share: (value) => value / top };
  }

  #decades(places) {
    const known = places.flatMap(({ values }) => Object.values(values)).filter((value) => value > 0);
    const power = (value) => Math.log10(Math.max(value, SMALLEST));
    const low = known.length ? Math.floor(power(Math.min(...known))) : -3;
    const high = Math.max(low + 2, known.length ? Math.ceil(power(Math.max(...known))) : 0);
    const marks = Array.from({ length: high - low + 1 }, (_, step) => 10 ** (low + step));
    return { marks, share: (value) => Math.max(0, power(value) - low) / (high - low) };
  }

  #areas(places, x, y) {
    const below = places.map(() => 0);
    return this.series.filter(({ name }) => places.some(({ values }) => values[name])).flatMap(({ name }) => {
      const points = places.map(({ at, values }, place) => {
        const under = y(below[place]).toFixed(1);
        below[place] += values[name] ?? 0;
        return { x: x(at).toFixed(1), under, over: y(below[place]).toFixed(1), any: values[name] > 0 };
      });
      const edge = points.map((point) => `${point.x},${point.over}`).join("L");
      const under = points.map((point) => `${point.x},${point.under}`).reverse().join("L");
      // Where it brings nothing its edge would hide that of the one below.
      const seen = points.map((point, place) => {
        const before = points[place - 1]?.any;
        if (!point.any && !before && !points[place + 1]?.any) {
          return "";
        }
        return `${before || (place && point.any) ? "L" : "M"}${point.x},${point.over}`;
      }).join("");
      return [
        drawn("path", { class: `area ${name}`, d: `M${edge}L${under}Z` }),
        drawn("path", { class: `line ${name}`, d: seen }),
      ];
    });
  }

  #lines(places, x, y) {
    return this.series.map(({ name }) => {
      let path = "";
      let pen = false;
      places.forEach(({ at, values }) => {
        if (values[name] === null) {
          pen = false;
          return;
        }
        // A point without neighbours is a line of no length, which round ends make visible.
        path += pen ? `L${x(at).toFixed(1)},${y(values[name]).toFixed(1)}` : `M${x(at).toFixed(1)},${y(values[name]).toFixed(1)}h0`;
        pen = true;
      });
      return drawn("path", { class: `line ${name}`, d: path || "M0,0" });
    });
  }

  #description(places) {
    return this.series.map(({ name, label }) => {
      const known = places.map(({ values }) => values[name]).filter((value) => value !== null);
      return known.length
        ? `${label}: ${this.written(known.at(-1))} at last, between ${this.written(Math.min(...known))} and ${this.written(Math.max(...known))}.`
        : `${label}: nothing.`;
    }).join(" ");
  }

  #point(pixel) {
    this.pointed = pixel === null ? null : pixel - this.canvas.getBoundingClientRect().left;
    this.#tell();
  }

  // The legend has the value below the pointer, or else the last one.
  #tell() {
    if (!this.at) {
      return;
    }
    const { places, x } = this.at;
    let place = places.at(-1);
    if (this.pointed !== null) {
      place = places.reduce((best, each) => (Math.abs(x(each.at) - this.pointed) < Math.abs(x(best.at) - this.pointed) ? each : best), place);
      this.cursor.setAttribute("x1", x(place.at));
      this.cursor.setAttribute("x2", x(place.at));
    }
    this.cursor.setAttribute("visibility", this.pointed === null ? "hidden" : "visible");
    const items = this.series.map(({ name, label }) => {
      const value = place?.values[name];
      return made("li", {}, made("span", { class: `key ${name}` }), `${label} `, made("b", {}, value === null || value === undefined ? "–" : this.written(value)));
    });
    if (this.pointed !== null && place) {
      items.push(made("li", { class: "when" }, EXACT.format(place.at * 1000)));
    }
    this.legend.replaceChildren(...items);
  }
}
