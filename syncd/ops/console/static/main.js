// Chooses the page by the address, asks the daemon again and again, and shows in title and icon how it is.

import * as contract from "./contract.js";
import { announce, byId, el, show } from "./dom.js";
import { bytes } from "./format.js";
import * as overview from "./overview.js";
import { keepToken, readSoon, token } from "./server.js";

const EVERY_MS = 3000;
const SPARKS_EVERY_MS = 10000;

let page = null;
let sparks = { at: 0, contracts: {} };
let summary = "";
let timer = null;

function wantedContract() {
  const text = location.hash.replace(/^#\/?/, "");
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function open() {
  const name = wantedContract();
  page = name ? contract.page(name, refresh) : overview;
  byId("main").replaceChildren(...page.frame());
  window.scrollTo(0, 0);
  refresh();
}

async function refresh() {
  clearTimeout(timer);
  const opened = page;
  try {
    const said = await readSoon("api/v1/overview");
    head(said);
    if (Date.now() - sparks.at > SPARKS_EVERY_MS) {
      sparks = { at: Date.now(), ...(await readSoon("api/v1/trends")) };
    }
    if (opened === page) await page.update(said, sparks.contracts);
    byId("lost").hidden = true;
  } catch (error) {
    lost(error);
  }
  timer = setTimeout(refresh, EVERY_MS);
}

function head(said) {
  const alarming = said.contracts.some((row) => row.level === "problem") || said.problems.length > 0
    || Object.values(said.servers).some((server) => !server.ok);
  title(alarming, said.totals.need_a_person, wantedContract());
  byId("daemon").textContent = [said.host, said.site, `version ${said.version}`].filter(Boolean).join(" · ");
  show(byId("servers"), said.servers, servers);
  byId("token").hidden = !token();
  byId("updated").textContent = `read ${new Date().toLocaleTimeString()}`;
  tell(overview.summary(said.totals));
}

// Only what has changed is said aloud.
function tell(text) {
  if (text === summary) return;
  summary = text;
  announce(text);
}

function title(alarming, waiting, name) {
  document.title = `${alarming ? "● " : ""}${waiting ? `(${waiting}) ` : ""}${name ? `${name} – ` : ""}syncd`;
  byId("icon").href = alarming ? "console/icon-alert.svg" : "console/icon.svg";
}

function lost(error) {
  title(true, 0, wantedContract());
  const says = error.status ? error.message : "The daemon does not answer; what is shown is from before.";
  if (byId("lost").textContent !== says) byId("lost").textContent = says;
  byId("lost").hidden = false;
  summary = says;
}

const NAMES = { mongo: "MongoDB", redis: "Redis" };

const servers = (said) =>
  Object.entries(said).map(([name, server]) =>
    el("li", { class: server.ok ? "well" : "problem" },
      el("span", { class: "dot", "aria-hidden": "true" }),
      server.ok ? healthy(server) : `${NAMES[name]}: ${server.says}`));

function healthy(server) {
  const parts = [`${server.says}, ${server.milliseconds} ms`];
  if (server.memory_bytes) {
    const most = server.maxmemory_bytes ? ` of ${bytes(server.maxmemory_bytes)}` : "";
    parts.push(`${bytes(server.memory_bytes)}${most}`);
  }
  return parts.join(", ");
}

byId("token").addEventListener("click", () => {
  keepToken("");
  byId("token").hidden = true;
  announce("the token is forgotten");
});

document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input, select, textarea") || document.querySelector("dialog[open]");
  if (event.key === "/" && !typing && byId("search")) {
    event.preventDefault();
    byId("search").focus();
  }
});

window.addEventListener("hashchange", () => {
  open();
  byId("main").focus();
});
open();
