// The list of conversations.

import { $, announce, h } from "./dom.js";
import { ask, confirm } from "./dialogs.js";
import * as chat from "./chat.js";
import * as settings from "./settings.js";
import * as store from "./store.js";

let known = [];

/** Reads what is kept, and draws it. */
export async function refresh() {
  known = await store.all();
  const open = chat.current().id;
  $("conversations").replaceChildren(...known.map((one) => row(one, one.id === open)));
  const storage = $("storage");
  const trouble = store.trouble();
  storage.textContent = trouble ?? "Conversations stay in this browser.";
  storage.classList.toggle("error", Boolean(trouble));
}

function row(one, isOpen) {
  const title = one.title || "Untitled";
  return h(
    "li",
    { class: isOpen && "open" },
    h("button", { type: "button", class: "title", "aria-current": isOpen && "true", title, onclick: () => show(one) }, title),
    h("button", { type: "button", class: "icon", "aria-label": `Delete ${title}`, title: "Delete", onclick: () => drop(one) }, "×"),
  );
}

function show(one) {
  chat.open(one);
  remember(one.id);
  refresh();
  $("message").focus();
}

function remember(id) {
  try {
    sessionStorage.setItem("tq.open", id);
  } catch {
    // the next load begins anew
  }
}

/** The open conversation was kept. */
export function saved() {
  remember(chat.current().id);
  return refresh();
}

export function fresh() {
  const one = store.fresh(settings.last());
  chat.open(one);
  remember(one.id);
  refresh();
  $("message").focus();
}

async function drop(one) {
  if (!(await confirm("Delete this conversation?", `“${one.title || "Untitled"}” is removed from this browser.`, "Delete"))) return;
  await store.remove(one.id);
  announce("Deleted.");
  if (one.id === chat.current().id) fresh();
  else await refresh();
}

function save() {
  const url = URL.createObjectURL(new Blob([store.write(known)], { type: "application/json" }));
  const link = h("a", { href: url, download: `turboquant-conversations-${new Date().toISOString().slice(0, 10)}.json` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
  announce(`${known.length} conversations exported.`);
}

async function load(event) {
  const [file] = event.target.files;
  if (!file) return;
  try {
    const read = store.read(await file.text());
    for (const one of read) await store.put(one);
    await refresh();
    announce(`${read.length} conversations imported.`);
  } catch (error) {
    await ask("Import", h("p", {}, `${file.name} was not imported. ${error.message}`), [["", "Close", "primary"]]);
  }
  event.target.value = "";
}

export async function start() {
  $("new").addEventListener("click", fresh);
  $("export").addEventListener("click", save);
  $("import").addEventListener("click", () => $("import-file").click());
  $("import-file").addEventListener("change", load);
  await refresh();
  let last = null;
  try {
    last = sessionStorage.getItem("tq.open");
  } catch {
    // nothing was open
  }
  const one = known.find((other) => other.id === last) ?? (last ? null : known[0]);
  if (one && !chat.current().turns.length) {
    chat.open(one);
    await refresh();
  }
}
