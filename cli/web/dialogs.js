// Questions and answers: native dialogs, which keep the focus inside, close with Escape and give the focus back.

import { $, h } from "./dom.js";
import { hasKey, setKey } from "./api.js";

/** Shows a dialog; resolves with the value of the button that closed it, or "" for Escape. */
export function ask(title, content, buttons, { wide } = {}) {
  const id = `dialog-${Date.now()}`;
  const box = h(
    "dialog",
    { "aria-labelledby": id, class: wide && "wide" },
    h(
      "form",
      { method: "dialog" },
      h("h2", { id }, title),
      content,
      h("div", { class: "buttons" }, buttons.map(([value, label, kind]) => h("button", { value, class: kind, formnovalidate: value !== "ok" }, label))),
    ),
  );
  document.body.append(box);
  const back = document.activeElement;
  box.showModal();
  return new Promise((resolve) => {
    box.addEventListener("close", () => {
      resolve(box.returnValue);
      box.remove();
      if (back?.isConnected) back.focus();
    });
  });
}

export async function confirm(title, text, yes) {
  return (await ask(title, h("p", {}, text), [["", "Cancel"], ["ok", yes, "primary"]])) === "ok";
}

let asking = false;

/** Asks for the API key; true: there is one now. */
export async function askKey(why) {
  if (asking) return false;
  asking = true;
  const key = h("input", { type: "password", id: "key-field", autocomplete: "off", spellcheck: "false" });
  const stay = h("input", { type: "checkbox" });
  const content = [
    why && h("p", { role: "alert" }, why),
    h("label", { class: "field" }, h("span", {}, "API key"), key),
    h("label", { class: "check" }, stay, "Keep it on this computer, also after this tab is closed"),
    h("p", { class: "note" }, "It is sent to this server only, as Authorization: Bearer. An empty field forgets it."),
  ];
  const buttons = [["", "Cancel"], ["ok", "Use this key", "primary"]];
  const answer = await ask("API key", content, buttons);
  asking = false;
  if (answer !== "ok") return false;
  setKey(key.value.trim(), stay.checked);
  return hasKey();
}

export const SHORTCUTS = [
  ["Enter", "Send the message"],
  ["Shift+Enter", "New line"],
  ["Escape", "Stop the answer; leave the message box"],
  ["/", "Go to the message box"],
  ["n", "New chat"],
  ["r", "Answer the last question again"],
  ["e", "Edit the last question"],
  ["s", "Settings of this chat"],
  ["m", "Choose the model"],
  ["1 2 3", "Chat, Server, Results"],
  ["?", "This help"],
];

let single = true;
try {
  single = localStorage.getItem("tq.keys") !== "off";
} catch {
  // no storage: as it is by default
}
export const singleKeys = () => single;

export async function showHelp() {
  const keys = SHORTCUTS.map(([key, what]) => h("tr", {}, h("td", {}, key.split(/(?<=\+)| /).map((part) => h("kbd", {}, part))), h("td", {}, what)));
  const toggle = h("input", { type: "checkbox" });
  toggle.checked = single;
  toggle.addEventListener("change", () => {
    single = toggle.checked;
    try {
      localStorage.setItem("tq.keys", single ? "on" : "off");
    } catch {
      // lasts as long as the page
    }
  });
  const content = [
    h("table", { class: "keys" }, h("caption", { class: "hidden" }, "Keyboard shortcuts"), h("tbody", {}, keys)),
    h("label", { class: "check" }, toggle, "Shortcuts of a single key (outside of text fields)"),
    h("p", { class: "note" }, "Conversations stay in this browser. The page loads nothing from elsewhere, and sends nothing anywhere but to this server."),
    h("p", { class: "note" }, "API: ", h("a", { href: "/openapi.json", target: "_blank", rel: "noopener" }, "openapi.json")),
  ];
  await ask("Help", content, [["", "Close", "primary"]]);
}

/** A line above everything; `retry` adds a button. */
export function banner(text, retry) {
  const node = $("banner");
  node.hidden = !text;
  node.replaceChildren();
  if (!text) return;
  node.append(h("span", {}, text));
  if (retry) node.append(h("button", { type: "button", class: "quiet", onclick: retry }, "Try again"));
}
