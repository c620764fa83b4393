// Conversations, kept in this browser (IndexedDB). Where it keeps nothing they live as long as the page, and that is said.

let opening = null;
let why = null; // why nothing is kept
const memory = new Map();

function open() {
  opening ??= new Promise((resolve, reject) => {
    const request = indexedDB.open("turboquant", 1);
    request.onupgradeneeded = () => request.result.createObjectStore("conversations", { keyPath: "id" });
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
    request.onblocked = () => reject(new Error("another tab holds an older version of the store"));
  });
  return opening;
}

async function run(mode, act) {
  const base = await open();
  return new Promise((resolve, reject) => {
    const transaction = base.transaction("conversations", mode);
    const request = act(transaction.objectStore("conversations"));
    transaction.oncomplete = () => resolve(request?.result);
    transaction.onerror = () => reject(transaction.error ?? request?.error);
    transaction.onabort = () => reject(transaction.error ?? request?.error ?? new Error("the browser gave up"));
  });
}

/** What is wrong with keeping, for people; null: nothing. */
export const trouble = () => why;

function failed(error) {
  why =
    error?.name === "QuotaExceededError"
      ? "The browser has no more room for conversations: export and delete some. What is new is lost when this page closes."
      : `The browser keeps no conversations (${error?.message ?? error}). What is new is lost when this page closes.`;
}

/** All conversations, the last changed first. */
export async function all() {
  let kept = [];
  try {
    kept = await run("readonly", (store) => store.getAll());
  } catch (error) {
    failed(error);
  }
  const known = new Map(kept.map((one) => [one.id, one]));
  for (const [id, one] of memory) known.set(id, one);
  return [...known.values()].sort((a, b) => b.updated - a.updated);
}

/** Keeps one; false: in memory only. */
export async function put(conversation) {
  try {
    await run("readwrite", (store) => store.put(conversation));
    memory.delete(conversation.id);
    why = null;
    return true;
  } catch (error) {
    memory.set(conversation.id, conversation);
    failed(error);
    return false;
  }
}

export async function remove(id) {
  memory.delete(id);
  try {
    await run("readwrite", (store) => store.delete(id));
    why = null;
  } catch (error) {
    failed(error);
  }
}

/** A new conversation with these settings. */
export function fresh(settings) {
  const now = Date.now();
  return { id: crypto.randomUUID?.() ?? `${now}-${Math.random().toString(36).slice(2)}`, title: "", created: now, updated: now, settings, turns: [] };
}

/** What a file of exported conversations holds. Foreign data: only what is known is taken, of the kind that it has to be. */
export function read(text) {
  let file;
  try {
    file = JSON.parse(text);
  } catch (error) {
    throw new Error(`This is no JSON: ${error.message}`);
  }
  if (file?.format !== "turboquant-conversations" || !Array.isArray(file.conversations)) {
    throw new Error("This file holds no conversations that were exported here.");
  }
  return file.conversations.map((one) => ({
    ...fresh(plain(one.settings)),
    title: string(one.title),
    created: Number(one.created) || Date.now(),
    updated: Number(one.updated) || Date.now(),
    turns: Array.isArray(one.turns) ? one.turns.map(turn).filter(Boolean) : [],
  }));
}

const string = (value) => (typeof value === "string" ? value : "");
const plain = (value) => (value && typeof value === "object" && !Array.isArray(value) ? value : {});

function turn(one) {
  if (!["user", "assistant", "tool"].includes(one?.role)) return null;
  const images = Array.isArray(one.images) ? one.images.filter((url) => /^data:image\/[a-z+.-]+;base64,/i.test(url)) : [];
  const calls = Array.isArray(one.calls) ? one.calls : [];
  return {
    role: one.role,
    content: string(one.content),
    reasoning: string(one.reasoning),
    images,
    calls: calls.map((call) => ({ id: string(call?.id), name: string(call?.name), arguments: string(call?.arguments) })),
    call: string(one.call),
    ...(one.usage && { usage: plain(one.usage) }),
    ...(one.timings && { timings: plain(one.timings) }),
    ...(one.model && { model: string(one.model) }),
    ...(one.kv && { kv: string(one.kv) }),
    ...(one.finish && { finish: string(one.finish) }),
  };
}

export function write(conversations) {
  return JSON.stringify({ format: "turboquant-conversations", version: 1, conversations }, null, 1);
}
