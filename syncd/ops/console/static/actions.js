// What a person may do about a contract. Each action says before what it will do, and beside it stands its command line.

import { announce, el } from "./dom.js";
import { keepToken, request, token } from "./server.js";

// `action`: {title, says, command, button, path, body, done, dangerous, after}. `ask`: what it would do to how many
// keys, asked of the daemon before it can be done. `input`: {label, hint, read}, of which `body`, `ask` and `command`
// get what `read` makes of the text; an error of `read` is shown.
export function offer(action, allowed) {
  return el("div", { class: "action" },
    el("button", { type: "button", class: action.dangerous ? "danger" : "", "data-key": `do-${action.path}-${action.button}`,
      disabled: !allowed, onclick: () => new Dialog(action) }, action.button),
    commandLine(said(action.command, undefined)));
}

export function commandLine(text) {
  const copy = el("button", { type: "button", class: "plain copy-text", "aria-label": `Copy the command ${text}`,
    onclick: async () => {
      await navigator.clipboard?.writeText(text).catch(() => {});
      announce("copied");
    } }, "Copy");
  return el("span", { class: "command" }, el("code", {}, text), copy);
}

const said = (value, given) => (typeof value === "function" ? value(given) : value);

class Dialog {
  constructor(action) {
    this.action = action;
    this.opener = document.activeElement;
    this.known = !action.ask;
    this.problem = el("p", { class: "problem", role: "alert" });
    this.effect = el("div", { role: "status", class: "effect" });
    this.command = el("code");
    this.submit = el("button", { type: "submit" });
    const { input, command } = action;
    if (input) this.text = el("textarea", { id: "action-input", rows: 3, spellcheck: "false", required: true, oninput: () => this.changed() });
    this.token = el("input", { type: "password", id: "token-input", autocomplete: "off", required: true });
    this.needsToken = el("p", {}, el("label", { for: "token-input" }, "Token of the daemon (SYNCD_TOKEN)"), this.token);
    this.node = el("dialog", { "aria-labelledby": "dialog-title" },
      el("form", { method: "dialog", onsubmit: (event) => { event.preventDefault(); this.next(); } },
        el("h2", { id: "dialog-title" }, action.title),
        [action.says].flat().map((one) => el("p", {}, one)),
        input && el("p", {}, el("label", { for: "action-input" }, input.label), this.text, el("span", { class: "quiet" }, input.hint)),
        this.effect,
        el("p", {}, "The same by command line: ", this.command),
        token() ? null : this.needsToken,
        this.problem,
        el("div", { class: "buttons" },
          el("button", { type: "button", onclick: () => this.node.close() }, "Cancel"), this.submit)));
    this.node.addEventListener("close", () => this.closed());
    this.command.textContent = said(command, undefined);
    this.label();
    document.body.append(this.node);
    this.node.showModal();
    if (!this.known && !input && token()) this.next();
  }

  label() {
    const { ask, button, dangerous } = this.action;
    this.submit.textContent = this.known || !ask ? button : "Show what it will do";
    this.submit.className = this.known && dangerous ? "danger" : "main";
  }

  changed() {
    this.known = !this.action.ask;
    this.effect.replaceChildren();
    this.problem.textContent = "";
    this.label();
    try {
      this.command.textContent = said(this.action.command, this.action.input.read(this.text.value));
    } catch {
      this.command.textContent = said(this.action.command, undefined);
    }
  }

  // Shows what the action would do, or does it.
  async next() {
    const { action } = this;
    this.problem.textContent = "";
    if (this.needsToken.isConnected && this.token.value) keepToken(this.token.value);
    this.submit.disabled = true;
    try {
      const given = action.input?.read(this.text.value);
      if (this.known) await this.run(given);
      else {
        this.effect.replaceChildren(el("p", { class: "quiet" }, "Asking what it will do."));
        this.effect.replaceChildren(...[await action.ask(given)].flat(Infinity).filter(Boolean));
        this.known = true;
        this.needsToken.remove();
      }
    } catch (error) {
      this.failed(error);
    }
    this.submit.disabled = false;
    this.label();
  }

  async run(given) {
    const { action } = this;
    const answer = await request(action.path, said(action.body, given) ?? {});
    this.node.close();
    result(action.done(answer));
    action.after?.();
  }

  failed(error) {
    if (!this.known) this.effect.replaceChildren();
    this.problem.textContent = error.status === 401 ? "That is not the daemon's SYNCD_TOKEN." : error.message;
    if (error.status !== 401) return;
    keepToken("");
    if (!this.needsToken.isConnected) this.problem.before(this.needsToken);
    this.token.focus();
  }

  closed() {
    this.node.remove();
    const key = CSS.escape(this.opener?.dataset.key ?? "");
    const opener = this.opener?.isConnected ? this.opener : document.querySelector(`[data-key="${key}"]`);
    (opener ?? document.getElementById("main")).focus();
  }
}

function result(text) {
  announce(text);
  const note = el("p", { class: "toast" }, text);
  document.getElementById("main").append(note);
  setTimeout(() => note.remove(), 6000);
}
