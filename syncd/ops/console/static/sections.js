// The parts of a contract's page, each from what the daemon says of it.

import { commandLine, offer } from "./actions.js";
import { el, words } from "./dom.js";
import { ago, bytes, count, counted, moment, seconds } from "./format.js";
import { contractPath, keepToken, query, read, token } from "./server.js";

const none = (text) => el("p", { class: "quiet" }, text);

const unknown = (said, what) => said.unknown[what] && el("p", { class: "problem" }, said.unknown[what]);

function table(caption, heads, rows) {
  return el("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": caption },
    el("table", {}, el("caption", { class: "unseen" }, caption),
      el("thead", {}, el("tr", {}, heads.map((head) => el("th", { scope: "col" }, head)))),
      el("tbody", {}, rows.map((cells) => el("tr", {}, cells.map((cell) => el("td", {}, cell)))))));
}

const time = (epoch) => el("time", { datetime: new Date(epoch * 1000).toISOString(), title: moment(epoch) }, ago(epoch));

export function deadLetters(said, act, withValues) {
  const found = said.dead_letter_groups;
  if (!found) return unknown(said, "dead_letter_groups");
  if (!found.waiting) return none("None wait.");
  const rest = found.waiting > found.read ? ` The first ${count(found.read)} are grouped here.` : "";
  return [
    el("p", {}, `${counted(found.waiting, "dead letter")} wait.${rest} Values are never kept in them.`),
    found.groups.map((group) => deadLetterGroup(group, act, withValues, found.groups.length === 1)),
    commandLine(`syncd deadletters list ${act.name}`),
  ];
}

function deadLetterGroup(group, act, withValues, alone) {
  const about = group.field ? `${group.reason}, field ${group.field}` : group.reason;
  const kind = { reason: group.reason, field: group.field, projection: group.projection };
  const action = (word, button, says, done, dangerous = false) => ({
    title: `${button} ${counted(group.count, "dead letter")}: ${about}`, button, dangerous, says, after: act.after, done,
    path: contractPath(act.name, `/deadletters/${word}`), body: kind, command: `syncd deadletters ${word} ${act.name} ${alone ? "--all" : `--reason ${quoted(group.reason)} --field ${quoted(group.field)} --projection ${quoted(group.projection)}`}`,
  });
  return el("article", { class: "group" },
    el("h3", {}, `${count(group.count)} × ${about}`),
    el("p", { class: "quiet" }, `Projection ${group.projection}; the last `, time(group.last / 1000), ". ", words(group.detail)),
    el("div", { class: "row" },
      offer(action("replay", "Replay", [`The lane reads ${counted(group.count, "document")} again and writes ${counted(group.count, "key")} of projection ${group.projection}; what still does not fit becomes a dead letter again.`],
        (answer) => `${counted(answer.requested, "dead letter")} will be tried again.`), act.allowed),
      offer(action("drop", "Drop", [`Removes ${counted(group.count, "dead letter")} permanently. Their keys stay as they are: they show an older state, until their documents change.`],
        (answer) => `${counted(answer.dropped, "dead letter")} removed.`, true), act.allowed)),
    withValues ? examples(act.name, query(kind)) : null);
}

function askToken(then) {
  const input = el("input", { type: "password", autocomplete: "off", required: true });
  const was = token();
  return el("form", { class: "row", onsubmit: (event) => { event.preventDefault(); keepToken(input.value); then(); } },
    was ? el("p", { class: "problem", role: "alert" }, "That is not the daemon's SYNCD_TOKEN.") : null,
    el("label", {}, "Token of the daemon (SYNCD_TOKEN) ", input), el("button", { type: "submit" }, "Show"));
}

function examples(name, kind) {
  const place = el("div");
  const load = async (event) => {
    if (!event.target.open) return;
    try {
      const said = await read(contractPath(name, `/deadletters${kind}`));
      place.replaceChildren(table("Keys", ["Entry", "Key", "_id", "Detail"],
        said.entries.map((one) => [one.entry, el("code", {}, one.key), el("code", {}, one.id), one.detail])));
    } catch (error) {
      place.replaceChildren(error.status === 401 ? askToken(() => load(event)) : el("p", { class: "problem" }, error.message));
    }
  };
  return el("details", { "data-key": `keys-${kind}`, ontoggle: load }, el("summary", {}, "Keys (with the token)"), place);
}

// What an edit will do, as `syncd plan` says it.
export function planSteps(steps) {
  return steps.flatMap((step) => [
    el("p", {}, el("strong", {}, step.action), step.diff?.changes.length ? `, ${step.diff.verdict} for readers` : ""),
    el("ul", {}, [...planLines(step)].map((text) => el("li", {}, words(text)))),
  ]);
}

function* planLines(step) {
  if (step.copy) {
    const kinds = Object.entries(step.copy.keys).map(([name, n]) => `${count(n)} of ${name}`).join(", ") || "none";
    yield `Copies ${step.copy.at_most ? "at most" : "about"} ${counted(step.copy.documents, "document")}; keys ${kinds}; ${bytes(step.copy.memory_bytes)} in Redis.`;
    if (step.copy.dead_letters) yield `About ${counted(step.copy.dead_letters, "dead letter")}.`;
  }
  if (step.keys_read !== null) yield `Reads ${counted(step.keys_read, "key")} and writes them to MongoDB.`;
  for (const one of step.keys_that_go) yield `${one.at_least ? "At least " : ""}${counted(one.count, "key")} of \`${one.key}\` go.`;
  for (const one of step.diff?.changes ?? []) yield `${one.verdict}: ${one.what}: ${one.why}`;
  for (const one of step.findings) yield `${one.what}; ${one.remedy}`;
  yield* step.notes;
}

// What a contract that is gone has left.
export function leftLines(orphans) {
  return el("ul", {}, orphans.flatMap((one) => [
    one.templates.map((shape) => el("li", {}, `${shape.at_least ? "at least " : ""}${counted(shape.keys, "key")} of `, el("code", {}, shape.key))),
    one.indexes.map((name) => el("li", {}, "the index ", el("code", {}, name))),
    one.dead_letters ? el("li", {}, counted(one.dead_letters, "dead letter")) : null,
    one.outbox_entries ? el("li", {}, `${counted(one.outbox_entries, "change")} in its outbox that did not reach MongoDB`) : null,
  ]));
}

export const keys = (projections) => projections.length
  ? projections.map((one) => el("article", { class: "group" },
    el("h3", {}, el("code", {}, one.key)),
    el("p", { class: "quiet" }, [`projection ${one.projection}`, one.type, one.each && `a key for each of ${one.each}`,
      one.member && `member ${one.member}`, one.ttl && `expires after ${one.ttl}`, one.index && `index ${one.index}`]
      .filter(Boolean).join(" · ")),
    one.fields.length ? el("ul", { class: "fields" }, one.fields.map(field)) : null))
  : none("The contract is not known here.");

const field = (one) => el("li", {}, el("code", {}, one.name || "value"),
  el("span", { class: "quiet" }, [one.from && one.from !== one.name && `from ${one.from}`, one.type, one.mask && `masked: ${one.mask}`]
    .filter(Boolean).map((text) => ` ${text}`).join(",")));

export const indexes = (found) => table("Search indexes", ["Index", "State", "Documents", "Left out", "Problem"],
  found.map((one) => [el("code", {}, one.index), one.state, count(one.documents), count(one.left_out), one.problem || ""]));

export function checks(said) {
  if (!said.checks) return unknown(said, "checks");
  const plan = said.reconcile;
  const when = !plan ? "No schedule: a check runs when it is asked for."
    : `By schedule: ${plan.schedule ?? `every ${seconds(plan.every_ms / 1000)}`}, ${plan.mode}.`;
  if (!said.checks.length) return [none(when), none("None has run yet.")];
  return [none(when), table("Checks, the latest first", ["When", "Result", "Documents", "Differences", "Repaired", "Took"],
    said.checks.map((one) => [time(one.started), el("span", { class: `badge ${one.result === "drift" ? "attention" : "well"}` }, one.result),
      count(one.documents), differences(one), count(one.repaired), seconds(one.seconds)]))];
}

// A word of a command line.
const quoted = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

export const snapshotWhere = (name, where) => `syncd snapshot ${name} --where ${where ? quoted(where) : "FILTER"}`;

const differences = (one) => Object.entries(one.drift).filter(([, n]) => n).map(([kind, n]) => `${count(n)} ${kind}`).join(", ") || "none";

export function conflicts(said) {
  const found = said.conflict_groups;
  if (!found) return unknown(said, "conflict_groups");
  if (!found.groups.length) return none("None were recorded.");
  return [
    el("p", { class: "quiet" }, `The records, with the values of both sides, are in the collection ${found.collection}.`),
    table("Conflicts", ["Field", "Why", "Decided for", "Count", "Last"],
      found.groups.map((one) => [el("code", {}, one.field), one.why, one.winner, count(one.count), time(one.last)])),
  ];
}

export const errors = (found) => found.length
  ? el("ol", { class: "errors" }, found.map((one) => el("li", {}, time(one.at), " ", words(one.error), one.times > 1 ? ` (${count(one.times)} times)` : null)))
  : none("None since the lane began.");

export function file(said) {
  return [
    el("details", { "data-key": "text", open: true }, el("summary", {}, "As it runs"),
      el("pre", { tabindex: 0 }, said.text || "The file is not known here.")),
    el("h3", {}, "Edits"),
    said.edits ? (said.edits.length ? said.edits.map(edit) : none("None are recorded.")) : unknown(said, "edits"),
  ];
}

function edit(one, at) {
  const by = one.file?.owner ? `, written by ${one.file.owner}` : "";
  const written = one.file?.modified ? ` on ${moment(one.file.modified)}` : "";
  const says = ` taken up by ${one.host}${by}${written}`;
  return el("details", { "data-key": `edit-${one.at}`, open: at === 0 && Boolean(one.diff) },
    el("summary", {}, time(one.at), says),
    one.diff ? el("pre", { class: "diff", tabindex: 0 }, one.diff.map(line)) : none("The first that was taken up."));
}

const KINDS = { "+": "added", "-": "removed", "@": "place" };

const line = (text) => el("span", { class: KINDS[text[0]] ?? "" }, `${text}\n`);
