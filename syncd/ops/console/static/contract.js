// The page of one contract.

import { offer } from "./actions.js";
import { chart } from "./chart.js";
import { el, show, words } from "./dom.js";
import { count, counted, rate, seconds, way } from "./format.js";
import { badge, progress } from "./overview.js";
import * as sections from "./sections.js";
import { contractPath, jsonObject, query, read, readSoon, request } from "./server.js";

const SPANS = { minutes: "ten minutes", hours: "six hours" };

const part = (id, title) => el("section", { "aria-labelledby": `${id}-title` },
  el("h2", { id: `${id}-title` }, title), el("div", { id }));

export function page(name, refresh) {
  let span = "minutes";

  const chooser = () => Object.entries(SPANS).map(([key, words]) =>
    el("button", { type: "button", class: "plain", "aria-pressed": String(key === span), "data-key": key,
      onclick: () => { span = key; refresh(); } }, words));

  function frame() {
    return [
      el("nav", { "aria-label": "Back" }, el("a", { href: "#/" }, "All contracts")),
      el("div", { id: "about" }, el("h1", {}, name)),
      el("section", { "aria-labelledby": "trend-title" },
        el("h2", { id: "trend-title" }, "Lag and changes"),
        el("div", { id: "spans", class: "spans", role: "group", "aria-label": "Time shown" }),
        el("div", { id: "trend", class: "charts" })),
      part("dead-letters", "Dead letters"),
      part("keys", "Keys"),
      part("indexes", "Search indexes"),
      part("checks", "Checks"),
      part("conflicts", "Conflicts"),
      part("errors", "Last errors"),
      part("actions", "Actions"),
      part("file", "Contract file"),
    ];
  }

  async function update(overview) {
    const [said, trend] = await Promise.all([
      readSoon(contractPath(name)), readSoon(contractPath(name, `/trend${query({ resolution: span })}`)),
    ]);
    const fill = (id, data, render) => {
      const node = document.getElementById(id);
      if (node) show(node, data, render);
    };
    fill("about", [said.row, said.lanes], () => about(said.row, said.lanes));
    fill("spans", span, chooser);
    fill("trend", [trend, said.row.freshness_seconds], () => charts(trend, said.row.freshness_seconds));
    const act = { allowed: overview.actions, name, after: refresh };
    fill("dead-letters", [said.dead_letter_groups, said.unknown, overview.actions],
      () => sections.deadLetters(said, act, overview.values));
    fill("keys", said.projections, sections.keys);
    fill("indexes", said.indexes, sections.indexes);
    fill("checks", [said.checks, said.reconcile, said.unknown], () => sections.checks(said));
    fill("conflicts", [said.conflict_groups, said.row.conflicts, said.unknown], () => sections.conflicts(said));
    fill("errors", said.errors, sections.errors);
    fill("actions", [said.lanes.map((lane) => lane.paused), said.documents, said.projections, said.waits, overview.actions], () => actions(said, act));
    fill("file", [said.text, said.edits, said.unknown], () => sections.file(said));
    for (const [id, is] of [["indexes", said.indexes.length], ["conflicts", said.row.direction === "both"]]) {
      document.getElementById(id)?.parentElement.toggleAttribute("hidden", !is);
    }
  }

  function charts(trend, limit) {
    const per = trend.changes.map((n) => n === null ? null : n / trend.step_seconds);
    const step = trend.step_seconds;
    return [
      chart(trend.lag_seconds, { title: "Lag", form: seconds, limit, limitSays: `the contract promises ${seconds(limit)}`, step }),
      chart(per, { title: "Changes", form: rate, step }),
    ];
  }

  return { frame, update };
}

function about(row, lanes) {
  const facts = {
    Owner: row.owner, Version: row.version, Direction: way(row.direction), Collection: row.collection,
    "Held by": row.holders.join(", ") || "no daemon",
    Lag: row.lag_seconds === null ? "unknown" : seconds(row.lag_seconds),
    Promised: row.freshness_seconds === null ? "nothing" : `at most ${seconds(row.freshness_seconds)}`,
    Changes: `${count(row.changes)} since the start`,
    Position: lanes.map((lane) => lane.position).filter(Boolean).join(", ") || "unknown",
  };
  return [
    el("div", { class: "title" }, el("h1", {}, row.name), badge(row)),
    row.description && el("p", {}, row.description),
    row.says && el("p", { class: `notice ${row.level}` }, words(row.says)),
    lanes.filter((lane) => lane.partial).map((lane) => partial(lane.partial)),
    row.copy && progress(row.copy),
    el("dl", { class: "facts" }, Object.entries(facts).map(([word, value]) =>
      el("div", {}, el("dt", {}, word), el("dd", {}, value ?? "unknown")))),
  ];
}

function partial({ copied, under_way: goesOn, error }) {
  const says = `${counted(copied, "document")} copied by a filter`;
  return el("p", { class: `notice ${error ? "attention" : "busy"}` },
    error ? `A copy of some documents was given up: ${error}` : goesOn ? `${says} so far.` : `${says}.`);
}

function actions(said, { allowed, name, after }) {
  const about = said.documents;
  const documents = about === null ? "all documents" : `${about.at_most ? "at most" : "about"} ${counted(about.documents, "document")}`;
  const keys = said.projections.length === 1 ? "keys" : `keys of ${said.projections.length} projections`;
  const make = (word, button, says, command, done, more = {}) => offer(
    { title: `${button}: ${name}`, button, says, command, after, done: () => done, path: contractPath(name, `/${word}`), ...more }, allowed);
  const compares = `Compares ${documents} with their ${keys}, beside the work of the lane.`;
  return [
    said.waits ? approval(said.waits, name, make) : null,
    allowed ? null : el("p", { class: "quiet" }, "The daemon has no SYNCD_TOKEN, so it takes no action over HTTP; the command lines work."),
    said.lanes.some((lane) => lane.paused)
      ? make("resume", "Resume", "Daemons go on with the contract from where it was paused.", `syncd resume ${name}`, "It goes on.")
      : make("pause", "Pause", "No daemon works on the contract until it is resumed. Keys stay as they are, and get older. The position is kept, for as long as MongoDB's oplog reaches back to it.",
        `syncd pause ${name}`, "It pauses."),
    make("reconcile", "Check", `${compares} It writes nothing.`, `syncd reconcile ${name}`,
      "The check has begun; its result will be here.", { body: { mode: "report" } }),
    make("reconcile", "Check and repair", `${compares} Keys that differ are written again, those without a document go.`,
      `syncd reconcile ${name} --repair`, "The check has begun; its result will be here.", { body: { mode: "repair" } }),
    make("snapshot", "Copy again", `Copies ${documents} to their ${keys} again, while changes go on. Keys without a document go, as many as sync.sweep_limit allows; above that the lane pauses and says how many.`,
      `syncd snapshot ${name}`, "The copy begins.", { dangerous: true }),
    said.row.direction === "redis_to_mongo" ? null : copySome(name, keys, make),
  ];
}

function copySome(name, keys, make) {
  const effect = ({ documents, why }) => el("p", {}, documents === null
    ? `How many documents match is not known: ${why}.`
    : `${counted(documents, "document")} match${documents === 1 ? "es" : ""}, and their ${keys} are written again.`);
  return make("snapshot", "Copy some", "Copies the documents that match a filter to their keys again, while changes go on. No other key is touched.",
    (where) => sections.snapshotWhere(name, where), "The copy begins.", {
      input: { label: "Filter", hint: "A MongoDB query in Extended JSON, such as {\"year\": {\"$gte\": 2000}}", read: jsonObject },
      ask: async (where) => effect(await request(contractPath(name, "/snapshot/count"), `{"where": ${where}}`)),
      body: (where) => `{"where": ${where}}`,
    });
}

function approval(plan, name, make) {
  const whole = name.split("@")[0];
  const ask = async () => {
    let steps = null;
    while (steps === null) ({ steps } = await read(contractPath(whole, "/plan")));
    if (steps.some((step) => step.plan !== plan)) throw new Error("The file is another by now; wait some seconds, and open this again.");
    return sections.planSteps(steps);
  };
  return [
    el("p", {}, `An edit of the file waits for approval: plan ${plan}. Until then the contract goes on as it was.`),
    make("approve", "Approve the edit", `Daemons take up plan ${plan}, and no other.`, `syncd approve ${whole} ${plan}`,
      "Approved; daemons take it up within a second or two.", { ask, body: { plan }, path: contractPath(whole, "/approve") }),
  ];
}
