// What a person may do about a contract. Each action says before what it will do, and beside it stands its command line.

import { announce, el } from "./dom.js";
import { keepToken, request, token } from "./server.js";

// `action`: {title, says, command, button, path, body, done, dangerous, after}
export function offer(action, allowed) {
  return el("div", { class: "action" },
    el("button", { type: "button", class: action.dangerous ? "danger" : "", "data-key": `do-${action.path}-${action.button}`,
      disabled: !allowed, onclick: () => confirm(action) }, action.button),
    commandLine(action.command));
}

export function commandLine(text) {
  const copy = el("button", { type: "button", class: "plain copy-text", "aria-label": `Copy the command ${text}`,
    onclick: async () => {
      await navigator.clipboard?.writeText(text).catch(() => {});
      announce("copied");
    } }, "Copy");
  return el("span", { class: "command" }, el("code", {}, text), copy);
}

function confirm(action) {
  const opener = document.activeElement;
  const problem = el("p", { class: "problem", role: "alert" });
  const input = el("input", { type: "password", id: "token-input", autocomplete: "off", required: true });
  const needsToken = el("p", {}, el("label", { for: "token-input" }, "Token of the daemon (SYNCD_TOKEN)"), input);
  const dialog = el("dialog", { "aria-labelledby": "dialog-title" },
    el("form", { method: "dialog", onsubmit: (event) => {
      event.preventDefault();
      if (input.value) keepToken(input.value);
      run(action, dialog, problem, needsToken);
    } },
    el("h2", { id: "dialog-title" }, action.title),
    [action.says].flat().map((text) => el("p", {}, text)),
    el("p", {}, "The same by command line: ", el("code", {}, action.command)),
    token() ? null : needsToken,
    problem,
    el("div", { class: "buttons" },
      el("button", { type: "button", onclick: () => dialog.close() }, "Cancel"),
      el("button", { type: "submit", class: action.dangerous ? "danger" : "main" }, action.button))));
  dialog.addEventListener("close", () => {
    dialog.remove();
    (opener?.isConnected ? opener : document.getElementById("main")).focus();
  });
  document.body.append(dialog);
  dialog.showModal();
}

async function run(action, dialog, problem, needsToken) {
  problem.textContent = "";
  try {
    const said = await request(action.path, action.body ?? {});
    dialog.close();
    result(action.done(said));
    action.after?.();
  } catch (error) {
    problem.textContent = error.status === 401 ? "That is not the daemon's SYNCD_TOKEN." : error.message;
    if (error.status === 401) {
      keepToken("");
      if (!needsToken.isConnected) problem.before(needsToken);
    }
  }
}

function result(text) {
  announce(text);
  const note = el("p", { class: "toast" }, text);
  document.body.append(note);
  setTimeout(() => note.remove(), 6000);
}
