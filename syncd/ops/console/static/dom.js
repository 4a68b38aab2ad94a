// Makes elements. Texts are always texts: nothing from the daemon becomes markup.

const SVG = "http://www.w3.org/2000/svg";

// What a browser would obey and not show, such as the marks that turn the direction of writing, as an escape.
const OBEYED = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g;

export const visible = (text) =>
  text.replaceAll(OBEYED, (mark) => `\\u${mark.charCodeAt(0).toString(16).padStart(4, "0")}`);

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  const shown = children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
  node.append(...shown.map((child) => (child instanceof Node ? child : visible(String(child)))));
  return node;
}

export const el = (tag, attributes = {}, ...children) =>
  fill(document.createElement(tag), attributes, children);

export const svg = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS(SVG, tag), attributes, children);

// A text of the daemon, in which `commands` and names stand between backticks.
export const words = (text) =>
  text.split("`").map((part, at) => (at % 2 ? el("code", {}, part) : part)).filter((part) => part !== "");

export const byId = (id) => document.getElementById(id);

// Replaces the content of a node only where what it shows has changed, so that focus and open parts stay.
const shown = new WeakMap();

export function show(node, data, render) {
  const text = JSON.stringify(data);
  if (shown.get(node) === text) return;
  shown.set(node, text);
  const focused = node.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  const open = new Set([...node.querySelectorAll("details[open][data-key]")].map((one) => one.dataset.key));
  node.replaceChildren(...[render(data)].flat(Infinity).filter(Boolean));
  for (const one of node.querySelectorAll("details[data-key]")) one.open ||= open.has(one.dataset.key);
  if (focused) node.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
}

// For screen readers, without moving the focus.
export function announce(text) {
  byId("said").textContent = text;
}
