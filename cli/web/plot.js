// A line over time, as a small SVG.

import { h, svg } from "./dom.js";

const WIDTH = 300;
const HEIGHT = 90;

/** A plot of at most `most` samples of one or two series; null is a gap. */
export class Plot {
  constructor(title, unit, most, names) {
    this.unit = unit;
    this.most = most;
    this.title = title;
    this.names = names;
    this.series = names.map(() => []);
    this.value = h("span", { class: "value" });
    this.top = h("span", { class: "top" });
    this.lines = names.map((_, i) => svg("path", { class: `line s${i}` }));
    this.dots = names.map((_, i) => svg("path", { class: `line dots s${i}` }));
    this.area = svg("path", { class: "area" });
    this.picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": title }, this.area, this.lines, this.dots);
    const legend = names.length > 1 && h("span", { class: "legend" }, names.map((name, i) => h("span", { class: `s${i}` }, name)));
    this.node = h("figure", { class: "plot" }, h("figcaption", {}, h("span", {}, title), this.value), h("div", { class: "frame" }, this.picture, this.top), legend);
  }

  /** Adds a sample. `least`: the scale goes up to this much at least; `shown`: the caption. */
  add(values, least, shown) {
    values.forEach((value, i) => {
      this.series[i].push(Number.isFinite(value) ? value : null);
      if (this.series[i].length > this.most) this.series[i].shift();
    });
    const highest = Math.max(least, ...this.series.flat().map((value) => value ?? 0));
    const x = (i, length) => WIDTH - ((length - 1 - i) * WIDTH) / (this.most - 1);
    const y = (value) => HEIGHT - 2 - (highest > 0 ? (value / highest) * (HEIGHT - 6) : 0);
    this.lines.forEach((line, n) => {
      const points = this.series[n];
      let path = "";
      let dots = "";
      let down = false;
      points.forEach((value, i) => {
        // a sample between gaps is a dot: no line leads there
        if (value !== null && !down && (points[i + 1] ?? null) === null) dots += `M${x(i, points.length).toFixed(1)} ${y(value).toFixed(1)}h.01`;
        else if (value !== null) path += `${down ? "L" : "M"}${x(i, points.length).toFixed(1)} ${y(value).toFixed(1)}`;
        down = value !== null;
      });
      line.setAttribute("d", path);
      this.dots[n].setAttribute("d", dots);
    });
    const points = this.series[0];
    const whole = points.length > 1 && !points.includes(null);
    this.area.setAttribute("d", whole ? `${this.lines[0].getAttribute("d")}L${WIDTH} ${HEIGHT}L${x(0, points.length).toFixed(1)} ${HEIGHT}Z` : "");
    this.top.textContent = this.unit(highest);
    this.value.textContent = shown;
    this.picture.setAttribute("aria-label", `${this.title}: ${shown}; the scale goes to ${this.unit(highest)}`);
  }
}
