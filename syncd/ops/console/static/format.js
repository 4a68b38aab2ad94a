// Numbers, times and words as people read them.

const whole = new Intl.NumberFormat("en");

export const count = (n) => (n === null || n === undefined ? "unknown" : whole.format(n));

export const counted = (n, noun) => `${count(n)} ${noun}${n === 1 ? "" : "s"}`;

export function seconds(s) {
  if (s === null || s === undefined) return "unknown";
  if (s < 1) return `${s.toFixed(2)} s`;
  if (s < 10 && !Number.isInteger(s)) return `${s.toFixed(1)} s`;
  if (s < 120) return `${Math.round(s)} s`;
  if (s < 7200) return `${Math.round(s / 60)} min`;
  if (s < 172800) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86400)} days`;
}

export function bytes(n) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let at = 0;
  while (n >= 1000 && at < units.length - 1) [n, at] = [n / 1000, at + 1];
  return `${n < 10 && at ? n.toFixed(1) : Math.round(n)} ${units[at]}`;
}

export function rate(n) {
  if (n === 0) return "0/s";
  return n < 10 ? `${n.toFixed(1)}/s` : `${count(Math.round(n))}/s`;
}

export const ago = (epoch, now = Date.now() / 1000) => `${seconds(Math.max(0, now - epoch))} ago`;

export const moment = (epoch) => new Date(epoch * 1000).toISOString().replace("T", " ").slice(0, 19) + " UTC";

const WAYS = { mongo_to_redis: "MongoDB to Redis", redis_to_mongo: "Redis to MongoDB", both: "both ways" };

export const way = (direction) => WAYS[direction] ?? "unknown";

export const state = (word) => ({ snapshot: "copying", catching_up: "catching up" })[word] ?? word;
