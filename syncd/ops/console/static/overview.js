// The first page: tiles, what is wrong first, and a row for each contract.

import { sparkline } from "./chart.js";
import { offer } from "./actions.js";
import { el, show, words } from "./dom.js";
import { leftLines } from "./sections.js";
import { contractPath, read } from "./server.js";
import { ago, count, counted, rate, seconds, state, way } from "./format.js";

const LEVELS = ["problem", "attention", "busy", "well"];
const KINDS = {
  all: { title: "contracts", is: () => true },
  live: { title: "live", is: (row) => row.state === "live" },
  copying: { title: "copying", is: (row) => row.copy !== null },
  need_a_person: { title: "need a person", is: (row) => row.level === "problem" || row.level === "attention" },
};

const MOST_TEXTS = 4;

const wanted = { kind: "all", text: "", direction: "" };
let last = { overview: null, sparks: {} };

const byUrgency = (a, b) =>
  LEVELS.indexOf(a.level) - LEVELS.indexOf(b.level) || a.name.localeCompare(b.name);

function fits(row) {
  const said = [row.name, row.owner, row.collection, row.description, ...row.holders].join(" ").toLowerCase();
  const words = wanted.text.toLowerCase().split(/\s+/).filter(Boolean);
  return KINDS[wanted.kind].is(row) && (!wanted.direction || row.direction === wanted.direction)
    && words.every((word) => said.includes(word));
}

export function frame() {
  const search = el("input", { type: "search", id: "search", placeholder: "name, owner, collection, host",
    autocomplete: "off", spellcheck: "false", value: wanted.text, oninput: (event) => choose({ text: event.target.value }) });
  const direction = el("select", { id: "direction", onchange: (event) => choose({ direction: event.target.value }) },
    el("option", { value: "" }, "any direction"),
    ["mongo_to_redis", "redis_to_mongo", "both"].map((one) =>
      el("option", { value: one, selected: wanted.direction === one }, way(one))));
  return [
    el("h1", { class: "unseen" }, "Contracts"),
    el("div", { id: "refused" }),
    el("div", { id: "tiles", class: "tiles", role: "group", "aria-label": "Show only" }),
    el("div", { class: "filters" },
      el("label", { for: "search" }, "Search"), search,
      el("label", { for: "direction" }, "Direction"), direction,
      el("span", { id: "found", class: "quiet" })),
    el("table", { class: "contracts" },
      el("caption", { class: "unseen" }, "Contracts, those with problems first"),
      el("thead", {}, el("tr", {},
        el("th", { scope: "col" }, "Contract"), el("th", { scope: "col" }, "State"),
        el("th", { scope: "col", class: "wide" }, "Direction"), el("th", { scope: "col" }, "Lag"),
        el("th", { scope: "col", class: "wide number" }, "Dead letters"),
        el("th", { scope: "col", class: "wide" }, "Held by"))),
      el("tbody", { id: "rows" })),
    el("div", { id: "left" }),
  ];
}

function choose(change) {
  Object.assign(wanted, change);
  if (last.overview) update(last.overview, last.sparks);
}

export function update(overview, sparks) {
  last = { overview, sparks };
  const $ = (id) => document.getElementById(id);
  show($("refused"), [overview.problems, overview.unknown], ([problems, unknown]) => refused(problems, unknown));
  show($("tiles"), [overview.totals, wanted.kind], ([totals]) => tiles(totals));
  const rows = overview.contracts.filter(fits).sort(byUrgency);
  $("found").textContent = rows.length === overview.contracts.length ? "" : `${count(rows.length)} of ${count(overview.contracts.length)}`;
  keep($("rows"), rows, sparks);
  show($("left"), [overview.left, overview.actions], ([left, allowed]) => gone(left, allowed));
}

function refused(problems, unknown) {
  const waits = Object.entries(unknown).map(([name, why]) => `${name}: ${why}`);
  return [
    problems.length && el("section", { class: "notice problem", "aria-label": "Refused" },
      el("h2", {}, "The last edit of the contracts was refused; the old set runs on"),
      few(problems)),
    waits.length && el("section", { class: "notice busy", "aria-label": "Not known" },
      el("h2", {}, "These do not run yet"), few(waits)),
  ];
}

function gone(left, allowed) {
  return left.length && el("section", { "aria-labelledby": "left-title" },
    el("h2", { id: "left-title" }, "Contracts that are gone"),
    el("p", { class: "quiet" }, "Their files were removed. What they left in Redis stays until a person removes it."),
    left.map((one) => el("article", { class: "group" },
      el("h3", {}, one.name, el("span", { class: "quiet" }, ` left ${ago(one.at)}`)),
      el("div", { class: "row" }, removal(one.name, false, allowed), removal(one.name, true, allowed)))));
}

function removal(name, keys, allowed) {
  const says = keys ? "Removes permanently from Redis what is listed here, and all records of the contract. Keys that another contract has by now stay, and so do those that an application writes. Nothing in MongoDB goes."
    : "Removes the records of the contract, its dead letters too. Its keys and indexes stay, and syncd does not know any more whose they are.";
  const button = keys ? "Remove with keys" : "Remove records";
  return offer({ title: `${button}: ${name}`, button, says, dangerous: true, path: contractPath(name, "/remove"), body: { keys },
    command: `syncd remove ${name}${keys ? " --keys" : ""}`, done: () => "It is being removed; the log says what went.",
    ask: async () => [el("p", {}, "It has left:"), leftLines((await read(contractPath(name, "/orphan"))).orphans)] }, allowed);
}

function few(texts) {
  const list = (some) => el("ul", {}, some.map((one) => el("li", {}, words(one))));
  return [list(texts.slice(0, MOST_TEXTS)), texts.length > MOST_TEXTS && el("details", { "data-key": "more" },
    el("summary", {}, `${texts.length - MOST_TEXTS} more`), list(texts.slice(MOST_TEXTS)))];
}

function tiles(totals) {
  const numbers = { all: totals.contracts, ...totals };
  return Object.entries(KINDS).map(([kind, { title }]) =>
    el("button", { type: "button", class: `tile ${kind} ${numbers[kind] ? "some" : "none"}`, "data-key": `tile-${kind}`,
      "aria-pressed": String(wanted.kind === kind), onclick: () => choose({ kind: wanted.kind === kind ? "all" : kind }) },
    el("span", { class: "figure" }, count(numbers[kind])), " ", el("span", {}, title)));
}

// Rows that are there already stay, so that the focus does.
function keep(body, rows, sparks) {
  const present = new Map([...body.children].map((tr) => [tr.dataset.name, tr]));
  const wantedRows = rows.map((row) => {
    const tr = present.get(row.name) ?? el("tr", { "data-name": row.name });
    const spark = Object.hasOwn(sparks, row.name) ? sparks[row.name] : undefined;
    show(tr, [row, spark], () => cells(row, spark));
    tr.className = row.level;
    return tr;
  });
  if (!wantedRows.length) {
    const none = el("tr", {}, el("td", { colspan: 6, class: "quiet" }, "No contract fits."));
    return body.replaceChildren(none);
  }
  wantedRows.forEach((tr, at) => body.children[at] === tr || body.insertBefore(tr, body.children[at] ?? null));
  while (body.children.length > wantedRows.length) body.lastChild.remove();
}

function cells(row, spark) {
  return [
    el("th", { scope: "row" },
      el("a", { href: `#/${encodeURIComponent(row.name)}`, "data-key": row.name }, row.name),
      el("div", { class: "quiet" }, [row.owner, row.collection].filter(Boolean).join(" · "))),
    el("td", { class: "state" }, badge(row), row.copy && progress(row.copy),
      row.says && row.level !== "busy" && el("div", { class: "says" }, words(row.says))),
    el("td", { class: "wide" }, way(row.direction)),
    el("td", {}, el("div", { class: "lag" }, lag(row), sparkline(spark, row.freshness_seconds))),
    el("td", { class: "wide number" }, row.dead_letters === null ? el("span", { class: "quiet" }, "unknown") : count(row.dead_letters)),
    el("td", { class: "wide" }, row.holders.join(", ") || el("span", { class: "quiet" }, "no daemon")),
  ];
}

function lag(row) {
  const late = row.freshness_seconds !== null && row.lag_seconds > row.freshness_seconds;
  return el("div", { class: late ? "figures late" : "figures" },
    row.lag_seconds === null ? el("span", { class: "quiet" }, "unknown") : seconds(row.lag_seconds),
    row.freshness_seconds !== null && el("span", { class: "quiet" }, ` of ${seconds(row.freshness_seconds)}`));
}

export const badge = (row) =>
  el("span", { class: `badge ${row.level}` }, el("span", { class: "dot", "aria-hidden": "true" }), state(row.state));

export function progress(copy) {
  const left = copy.seconds_left === null ? "" : `, about ${seconds(copy.seconds_left)} left`;
  const of = copy.of === null ? "" : ` of ${copy.at_most ? "at most " : "about "}${count(copy.of)}`;
  const says = `${count(copy.documents)}${of}${left}`;
  const bar = { max: copy.of || undefined, value: copy.of ? Math.min(copy.documents, copy.of) : undefined };
  return el("div", { class: "copy" },
    copy.of !== null && el("progress", { ...bar, "aria-label": `copied: ${says}` }),
    el("div", { class: "quiet" }, says, copy.per_second ? ` (${rate(copy.per_second)})` : ""));
}

export const summary = (totals) =>
  totals.need_a_person ? `${counted(totals.need_a_person, "contract")} need${totals.need_a_person === 1 ? "s" : ""} a person` : "all is well";
