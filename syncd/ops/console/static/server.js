// Talks with the daemon. Addresses are relative, so that the page works behind a prefix.

const KEY = "syncd-token";

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

async function ask(path, method, body) {
  const headers = token() ? { Authorization: `Bearer ${token()}` } : {};
  if (body) headers["Content-Type"] = "application/json";
  const reply = await fetch(path, { method, headers, cache: "no-store", body: body && JSON.stringify(body) });
  const said = await reply.json().catch(() => ({}));
  if (!reply.ok) throw new Refused(reply.status, said.error ?? `the daemon answered ${reply.status}`);
  return said;
}

export const read = (path) => ask(path, "GET");

export const request = (path, body) => ask(path, "POST", body);

export const contractPath = (name, rest = "") => `api/v1/contracts/${encodeURIComponent(name)}${rest}`;

export function query(values) {
  const given = Object.entries(values).filter(([, value]) => value !== undefined && value !== null);
  return given.length ? `?${new URLSearchParams(given)}` : "";
}
