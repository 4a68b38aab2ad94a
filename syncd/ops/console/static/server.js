// Talks with the daemon. Addresses are relative, so that the page works behind a prefix.

const KEY = "syncd-token";
// A daemon that is paused, or behind a cut network, gives no answer at all.
const LONGEST_MS = 30_000;
// Of what a page reads again and again: the daemon needs 8 s where Redis gives no answer.
const SOON_MS = 12_000;

export const token = () => sessionStorage.getItem(KEY) ?? "";

export function keepToken(value) {
  if (value) sessionStorage.setItem(KEY, value);
  else sessionStorage.removeItem(KEY);
}

export class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

// A header holds bytes: those of the token in UTF-8.
const bearer = () => `Bearer ${String.fromCharCode(...new TextEncoder().encode(token()))}`;

async function ask(path, method, longest, body) {
  const headers = token() ? { Authorization: bearer() } : {};
  if (body) headers["Content-Type"] = "application/json";
  const signal = AbortSignal.timeout(longest);
  const reply = await fetch(path, { method, headers, signal, cache: "no-store", body });
  const said = await reply.json().catch(() => ({}));
  if (!reply.ok) throw new Refused(reply.status, said.error ?? `the daemon answered ${reply.status}`);
  return said;
}

export const read = (path) => ask(path, "GET", LONGEST_MS);
export const readSoon = (path) => ask(path, "GET", SOON_MS);

// The text of an object of JSON, on one line.
export function jsonObject(text) {
  let said = null;
  try {
    said = JSON.parse(text);
  } catch { /* said below */ }
  if (said === null || typeof said !== "object" || Array.isArray(said)) throw new Error("That is no object of JSON.");
  return text.trim().replaceAll(/\s*\n\s*/g, " ");
}

// `body`: a value, or JSON as a person has typed it: a number that is large for JavaScript stays as it is.
export const request = (path, body) =>
  ask(path, "POST", LONGEST_MS, typeof body === "string" ? body : JSON.stringify(body));

export const contractPath = (name, rest = "") => `api/v1/contracts/${encodeURIComponent(name)}${rest}`;

export function query(values) {
  const given = Object.entries(values).filter(([, value]) => value !== undefined && value !== null);
  return given.length ? `?${new URLSearchParams(given)}` : "";
}
