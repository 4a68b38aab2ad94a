// Lines over time, as SVG. A gap means that nothing is known of that time.

import { el, svg } from "./dom.js";
import { seconds } from "./format.js";

const LEAST = 15;

// The top of a scale: a little above the limit, so that the limit shows, and above all values.
const top = (values, limit) => Math.max(limit ? limit * 1.25 : 0, ...values.filter((v) => v !== null), 0.1);

function lines(values, width, height, highest) {
  const parts = [];
  let part = null;
  values.forEach((value, at) => {
    if (value === null) return (part = null);
    const x = (at * width) / Math.max(1, values.length - 1);
    const y = height - (Math.min(value, highest) / highest) * height;
    if (part) part.push([x, y]);
    else parts.push((part = [[x, y]]));
  });
  return parts;
}

const path = (points) => "M" + points.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L");

function drawn(values, limit, width, height) {
  const highest = top(values, limit);
  const made = [];
  for (const part of lines(values, width, height, highest)) {
    const [first, last] = [part[0][0], part[part.length - 1][0]];
    made.push(svg("path", { class: "area", d: `${path(part)}L${last} ${height}L${first} ${height}Z` }));
    made.push(svg("path", { class: "line", d: path(part.length > 1 ? part : [part[0], [first + 1, part[0][1]]]) }));
  }
  if (limit) {
    const y = height - (limit / highest) * height;
    made.push(svg("line", { class: "limit", x1: 0, x2: width, y1: y, y2: y }));
  }
  return made;
}

const most = (known) => Math.max(...known);

// Without the time before the daemon began, of which nothing is known; a few points are there at least.
const begun = (values) => values.slice(Math.min(values.findIndex((v) => v !== null), Math.max(0, values.length - LEAST)));

export function sparkline(values, limit) {
  const known = (values ?? []).filter((v) => v !== null);
  if (!known.length) return null;
  values = begun(values);
  const late = limit && known.at(-1) > limit;
  return svg("svg", { class: late ? "spark late" : "spark", viewBox: "0 0 100 24", preserveAspectRatio: "none",
    role: "img", "aria-label": `lag of the last ten minutes, at most ${seconds(most(known))}` },
  drawn(values, limit, 100, 24));
}

export function chart(values, { title, form, limit = null, limitSays = "", step }) {
  const known = values.filter((v) => v !== null);
  values = known.length ? begun(values) : values;
  const span = seconds(values.length * step);
  const says = known.length ? `now ${form(known.at(-1))}, at most ${form(most(known))}` : "nothing is known yet";
  return el("figure", { class: "chart" },
    el("figcaption", {}, el("strong", {}, title), ` ${says}${limit ? `; ${limitSays}` : ""}`),
    svg("svg", { viewBox: "0 0 600 100", preserveAspectRatio: "none", role: "img",
      "aria-label": `${title} over the last ${span}: ${says}` }, drawn(values, limit, 600, 100)),
    el("div", { class: "ends quiet", "aria-hidden": "true" }, el("span", {}, `${span} ago`), el("span", {}, "now")));
}
