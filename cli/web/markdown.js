// Markdown as models write it, to DOM nodes. Everything that came from outside becomes a text node or a checked link: there is
// no path from a text to markup, and no picture is fetched.

import { copy, h } from "./dom.js";

const DEEPEST = 8; // of lists and quotes within each other; what is deeper is a paragraph
const LINK = /^(?:https?:\/\/|mailto:)/i;

const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([^`\s]*)[^`]*$/;
const HEADING = /^ {0,3}(#{1,6})\s+(.*?)\s*#*\s*$/;
const RULE = /^ {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$/;
const ITEM = /^( *)([-*+]|\d{1,9}[.)])( +|$)(.*)$/;
const QUOTE = /^ {0,3}> ?(.*)$/;
const DELIMITER = /^ {0,3}\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?\s*$/;

/** A text that grows: `update` draws again only from the last block on, since what comes after cannot change those before. */
export class Markdown {
  constructor(root) {
    this.root = root;
    this.done = 0; // characters of finished blocks
    this.kept = 0; // their nodes
    this.text = "";
  }

  update(text) {
    if (!text.startsWith(this.text.slice(0, this.done))) this.done = this.kept = 0;
    this.text = text;
    const blocks = [...parse(text.slice(this.done), 0)];
    while (this.root.childNodes.length > this.kept) this.root.lastChild.remove();
    this.root.append(...blocks.map((block) => block.node()));
    const last = blocks.at(-1);
    if (blocks.length > 1) {
      this.kept += blocks.length - 1;
      this.done += last.start;
    }
  }
}

/** The blocks of a text, each with where it starts. */
function* parse(text, depth) {
  const lines = text.split("\n");
  const starts = [];
  let at = 0;
  for (const line of lines) {
    starts.push(at);
    at += line.length + 1;
  }
  let i = 0;
  while (i < lines.length) {
    const start = starts[i];
    const line = lines[i];
    if (!line.trim()) {
      i += 1;
      continue;
    }
    const first = i;
    let match;
    if ((match = FENCE.exec(line))) {
      const [, fence, language] = match;
      const close = new RegExp(`^ {0,3}${fence[0]}{${fence.length},}\\s*$`);
      i += 1;
      while (i < lines.length && !close.test(lines[i])) i += 1;
      const code = lines.slice(first + 1, i).join("\n");
      i += 1;
      yield { start, node: () => codeBlock(code, language) };
    } else if ((match = HEADING.exec(line))) {
      const [, marks, title] = match;
      i += 1;
      // the page has headings of its own above these
      yield { start, node: () => h(`h${Math.min(6, marks.length + 2)}`, {}, inline(title)) };
    } else if (RULE.test(line)) {
      i += 1;
      yield { start, node: () => h("hr") };
    } else if (QUOTE.test(line) && depth < DEEPEST) {
      const inside = [];
      while (i < lines.length && (match = QUOTE.exec(lines[i]))) {
        inside.push(match[1]);
        i += 1;
      }
      yield { start, node: () => h("blockquote", {}, nodes(inside.join("\n"), depth + 1)) };
    } else if ((match = ITEM.exec(line)) && depth < DEEPEST) {
      const [end, list] = items(lines, i);
      i = end;
      yield { start, node: () => listNode(list, depth) };
    } else if (line.includes("|") && i + 1 < lines.length && isTable(line, lines[i + 1])) {
      i += 2;
      while (i < lines.length && lines[i].includes("|") && lines[i].trim()) i += 1;
      const rows = lines.slice(first, i);
      yield { start, node: () => table(rows) };
    } else {
      i += 1;
      while (i < lines.length && lines[i].trim() && !interrupts(lines, i)) i += 1;
      const paragraph = lines.slice(first, i).join("\n");
      yield { start, node: () => h("p", {}, inline(paragraph)) };
    }
  }
}

function interrupts(lines, i) {
  const line = lines[i];
  if (FENCE.test(line) || HEADING.test(line) || QUOTE.test(line) || RULE.test(line)) return true;
  const item = ITEM.exec(line);
  if (item) return Boolean(item[4]) && (!/\d/.test(item[2]) || parseInt(item[2], 10) === 1);
  return line.includes("|") && i + 1 < lines.length && isTable(line, lines[i + 1]);
}

const nodes = (text, depth) => [...parse(text, depth)].map((block) => block.node());

/** The items of the list that begins at line `i`, and the line after it. */
function items(lines, i) {
  const [, indent, mark] = ITEM.exec(lines[i]);
  const ordered = /\d/.test(mark);
  const list = { ordered, first: ordered ? parseInt(mark, 10) : 1, items: [] };
  let inside = 0;
  let blank = false;
  for (; i < lines.length; i += 1) {
    const line = lines[i];
    if (!line.trim()) {
      blank = true;
      list.items.at(-1)?.push("");
      continue;
    }
    const depth = /^ */.exec(line)[0].length;
    const item = ITEM.exec(line);
    if (list.items.length && depth >= inside) {
      list.items.at(-1).push(line.slice(inside));
    } else if (item && depth <= indent.length + 1 && /\d/.test(item[2]) === ordered && !RULE.test(line)) {
      inside = item[1].length + item[2].length + Math.min(4, Math.max(1, item[3].length));
      list.items.push([item[4]]);
    } else if (list.items.length && depth > indent.length && item) {
      list.items.at(-1).push(line.slice(indent.length + 2)); // a list within, indented by less than the text
    } else if (!blank && list.items.length && !interrupts(lines, i)) {
      list.items.at(-1).push(line.trimStart()); // a paragraph that goes on
    } else {
      break;
    }
    blank = false;
  }
  return [i, list];
}

function listNode({ ordered, first, items }, depth) {
  const item = (lines) => {
    const text = lines.join("\n").trimEnd();
    const inside = nodes(text, depth + 1);
    // a single paragraph needs no space around it
    const [head, ...rest] = inside;
    return h("li", {}, head?.tagName === "P" && !text.includes("\n\n") ? [[...head.childNodes], rest] : inside);
  };
  return h(ordered ? "ol" : "ul", { start: ordered && first !== 1 ? first : null }, items.map(item));
}

const cells = (row) => {
  const inner = row.trim().replace(/^\|/, "").replace(/\|$/, "");
  return inner.split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|"));
};

const isTable = (head, delimiter) =>
  delimiter.includes("-") && DELIMITER.test(delimiter) && cells(head).length === cells(delimiter).length;

function table([head, delimiter, ...rows]) {
  const align = cells(delimiter).map((mark) => {
    const [left, right] = [mark.startsWith(":"), mark.endsWith(":")];
    return left && right ? "center" : right ? "right" : null;
  });
  const row = (tag) => (line) => {
    const found = cells(line);
    return h("tr", {}, align.map((side, i) => h(tag, { class: side, scope: tag === "th" && "col" }, inline(found[i] ?? ""))));
  };
  // can be wider than the page
  return h(
    "div",
    { class: "scroll", tabindex: 0, role: "region", "aria-label": "Table" },
    h("table", {}, h("thead", {}, row("th")(head)), h("tbody", {}, rows.map(row("td")))),
  );
}

function codeBlock(code, language) {
  const button = h("button", { type: "button", class: "quiet", onclick: () => copy(code, button) }, "Copy");
  return h(
    "div",
    { class: "code" },
    h("div", { class: "code-head" }, h("span", {}, language.slice(0, 30) || "code"), button),
    h("pre", { tabindex: 0 }, h("code", {}, code)),
  );
}

// What can begin something in a line; all else is text.
const SPECIAL = /[\\`*_~[!<\n]|https?:\/\//g;
const TARGET = /\[((?:[^[\]\\\n]|\\.|\[[^[\]\n]{0,200}\]){0,500})\]\(\s*<?((?:[^\s()<>]|\([^\s()<>]{0,500}\)){0,2000})>?(?:\s+"[^"\n]{0,300}")?\s*\)/y;
const AUTO = /<((?:https?:\/\/|mailto:)[^\s<>]{1,2000})>/iy;
const BARE = /https?:\/\/[^\s<>"'`]{1,2000}/iy;

/** The nodes of a text without blocks. */
function inline(text, depth = 0) {
  const out = [];
  let plain = "";
  const flush = () => {
    if (plain) out.push(document.createTextNode(plain));
    plain = "";
  };
  const put = (node) => {
    flush();
    out.push(node);
  };
  const missing = new Set(); // marks that are not closed: looked for once
  let i = 0;
  const sticky = (pattern) => {
    pattern.lastIndex = i;
    return pattern.exec(text);
  };
  while (i < text.length) {
    SPECIAL.lastIndex = i;
    const next = SPECIAL.exec(text);
    if (!next) {
      plain += text.slice(i);
      break;
    }
    plain += text.slice(i, next.index);
    i = next.index;
    const c = text[i];
    let match;
    if (c === "\\" && /[!-/:-@[-`{-~]/.test(text[i + 1] ?? "")) {
      plain += text[i + 1];
      i += 2;
    } else if (c === "\n") {
      plain = plain.replace(/ +$/, "");
      put(h("br"));
      i += 1;
    } else if (c === "`") {
      const mark = /`+/y;
      mark.lastIndex = i;
      const [ticks] = mark.exec(text);
      const end = missing.has(ticks) ? -1 : closing(text, ticks, i + ticks.length);
      if (end < 0) {
        missing.add(ticks);
        plain += ticks;
        i += ticks.length;
      } else {
        const code = text.slice(i + ticks.length, end).replaceAll("\n", " ");
        put(h("code", {}, /^ .*[^ ].* $/.test(code) ? code.slice(1, -1) : code));
        i = end + ticks.length;
      }
    } else if (depth < DEEPEST && (c === "*" || c === "_" || c === "~") && (match = emphasis(text, i, missing))) {
      put(h(match.tag, {}, inline(text.slice(match.from, match.to), depth + 1)));
      i = match.end;
    } else if ((c === "[" || (c === "!" && text[i + 1] === "[")) && (match = linkAt(text, c === "!" ? i + 1 : i))) {
      const [all, label, target] = match;
      put(link(target, inline(label || target, DEEPEST)) ?? document.createTextNode(all));
      i += all.length + (c === "!" ? 1 : 0);
    } else if (c === "<" && (match = sticky(AUTO))) {
      put(link(match[1], [match[1]]));
      i += match[0].length;
    } else if (c === "h" && (match = sticky(BARE))) {
      const address = match[0].replace(/[.,;:!?)\]}*_~]+$/, "");
      put(link(address, [address]) ?? document.createTextNode(address));
      i += address.length;
    } else {
      plain += c;
      i += 1;
    }
  }
  flush();
  return out;
}

function linkAt(text, at) {
  TARGET.lastIndex = at;
  return TARGET.exec(text);
}

/** Where a run of exactly these backticks comes again. */
function closing(text, ticks, from) {
  for (let at = text.indexOf(ticks, from); at >= 0; ) {
    let end = at + ticks.length;
    if (text[end] !== "`" && text[at - 1] !== "`") return at;
    while (text[end] === "`") end += 1;
    at = text.indexOf(ticks, end);
  }
  return -1;
}

const EMPHASIS = [
  ["**", "strong"],
  ["__", "strong"],
  ["~~", "s"],
  ["*", "em"],
  ["_", "em"],
];

function emphasis(text, at, missing) {
  for (const [mark, tag] of EMPHASIS) {
    if (!text.startsWith(mark, at) || missing.has(mark)) continue;
    const from = at + mark.length;
    if (/\s/.test(text[from] ?? " ") || (mark.length === 1 && text[from] === mark)) continue;
    if (mark[0] === "_" && /[\p{L}\p{N}]/u.test(text[at - 1] ?? " ")) continue;
    let tried = 0;
    for (let to = text.indexOf(mark, from + 1); to >= 0 && tried < 50; to = text.indexOf(mark, to + 1), tried += 1) {
      const end = to + mark.length;
      if (/\s/.test(text[to - 1]) || text[to - 1] === "\\") continue;
      if (mark.length === 1 && (text[end] === mark || text[to - 1] === mark)) continue;
      if (mark[0] === "_" && /[\p{L}\p{N}]/u.test(text[end] ?? " ")) continue;
      // three in a row at the end: the inner mark closes first
      const shift = mark.length === 2 && text[end] === mark[0] ? 1 : 0;
      return { tag, from, to: to + shift, end: end + shift };
    }
    if (tried === 0) missing.add(mark);
  }
  return null;
}

/** A link that tells the other side nothing of this page; null: an address of another kind. */
function link(target, inside) {
  if (!LINK.test(target)) return null;
  return h("a", { href: target, target: "_blank", rel: "noopener noreferrer nofollow" }, inside);
}
