// The page: views, theme, keyboard.

import { $, announce, show } from "./dom.js";
import * as api from "./api.js";
import * as chat from "./chat.js";
import * as dialogs from "./dialogs.js";
import * as history from "./history.js";
import * as model from "./model.js";
import * as results from "./results.js";
import * as server from "./server.js";

const VIEWS = ["chat", "server", "results"];

function view(name, focus) {
  for (const other of VIEWS) {
    const tab = $(`tab-${other}`);
    const on = other === name;
    tab.setAttribute("aria-selected", String(on));
    tab.tabIndex = on ? 0 : -1;
    show($(`view-${other}`), on);
    if (on && focus) tab.focus();
  }
  if (location.hash.slice(1) !== name) window.history.replaceState(null, "", `#${name}`);
  drawer(false);
  server.watch(name === "server");
  if (name === "results") results.show();
}

function tabs() {
  for (const name of VIEWS) $(`tab-${name}`).addEventListener("click", () => view(name));
  document.querySelector("[role=tablist]").addEventListener("keydown", (event) => {
    const at = VIEWS.findIndex((name) => $(`tab-${name}`) === document.activeElement);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: VIEWS.length - 1 }[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    view(VIEWS[(to + VIEWS.length) % VIEWS.length], true);
  });
  addEventListener("hashchange", () => view(asked()));
}

const asked = () => (VIEWS.includes(location.hash.slice(1)) ? location.hash.slice(1) : "chat");

const THEMES = ["", "light", "dark"];

function theme() {
  const root = document.documentElement;
  const name = () => ({ "": "as the system", light: "light", dark: "dark" })[root.dataset.theme ?? ""];
  const label = () => {
    $("theme").setAttribute("aria-label", `Theme: ${name()}`);
    $("theme").title = `Theme: ${name()}`;
  };
  $("theme").addEventListener("click", () => {
    const next = THEMES[(THEMES.indexOf(root.dataset.theme ?? "") + 1) % THEMES.length];
    if (next) root.dataset.theme = next;
    else delete root.dataset.theme;
    try {
      localStorage.setItem("tq.theme", next);
    } catch {
      // lasts as long as the page
    }
    label();
    announce(`Theme: ${name()}`);
  });
  label();
}

function drawer(open) {
  $("side").classList.toggle("open", open);
  $("drawer").setAttribute("aria-expanded", String(open));
}

const KEYS = {
  "/": () => $("message").focus(),
  n: history.fresh,
  r: chat.retryLast,
  e: chat.editLast,
  s: chat.changeSettings,
  m: () => $("model").focus(),
  "?": dialogs.showHelp,
  1: () => view("chat", true),
  2: () => view("server", true),
  3: () => view("results", true),
};
const ANYWHERE = ["?", "1", "2", "3", "m"];

function keyboard() {
  addEventListener("keydown", (event) => {
    if (event.defaultPrevented || document.querySelector("dialog[open]")) return;
    const field = event.target.closest?.("input, textarea, select");
    if (event.key === "Escape") {
      if (chat.isRunning()) chat.stop();
      else if ($("side").classList.contains("open")) drawer(false);
      else field?.blur();
      return;
    }
    if (field || event.ctrlKey || event.metaKey || event.altKey || !dialogs.singleKeys()) return;
    const act = Object.hasOwn(KEYS, event.key) && KEYS[event.key];
    if (!act) return;
    event.preventDefault();
    if (!ANYWHERE.includes(event.key)) view("chat");
    act();
  });
}

let declined = false; // the dialog comes by itself until it was closed once

async function key(error) {
  if (error && declined) return;
  const why = error && (api.hasKey() ? "The server does not take this key." : "This server wants an API key.");
  const given = await dialogs.askKey(why);
  declined = Boolean(error) && !given;
  if (given) await model.refresh();
}

function start() {
  tabs();
  theme();
  keyboard();
  $("help").addEventListener("click", dialogs.showHelp);
  $("key").addEventListener("click", () => key());
  $("drawer").addEventListener("click", () => drawer(!$("side").classList.contains("open")));
  $("conversations").addEventListener("click", () => drawer(false));
  $("new").addEventListener("click", () => drawer(false));
  api.on("key", key);
  api.on("gone", () => model.state.props && dialogs.banner("The server does not answer. It may have been stopped.", model.refresh));
  api.on("back", () => dialogs.banner(""));
  model.start();
  chat.start(history.saved);
  view(asked());
  model.refresh();
  history.start();
  if (matchMedia("(pointer: fine)").matches && asked() === "chat") $("message").focus();
}

start();
