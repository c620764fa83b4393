// Numbers for people.

const MIB = 1 << 20;

export const count = (n) => Math.round(n).toLocaleString("en-US");

/** Bytes as KiB, MiB or GiB with three digits or so. */
export function bytes(n) {
  if (!(n >= 0)) return "–";
  if (n < 1024) return `${Math.round(n)} B`;
  const [size, unit] = n < MIB ? [n / 1024, "KiB"] : n < 1024 * MIB ? [n / MIB, "MiB"] : [n / (1024 * MIB), "GiB"];
  return `${size.toFixed(size < 10 ? 2 : size < 100 ? 1 : 0)} ${unit}`;
}

/** Bytes as MiB, for figures that are to be compared. */
export const mebibytes = (n) => `${(n / MIB).toFixed(n < 100 * MIB ? 2 : 0)} MiB`;

/** Milliseconds. */
export function time(ms) {
  if (!(ms >= 0)) return "–";
  if (ms < 1000) return `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
  return `${(ms / 1000).toFixed(ms < 10000 ? 2 : 1)} s`;
}

export function rate(n) {
  if (!Number.isFinite(n)) return "–";
  return n >= 100 ? count(n) : n.toFixed(1);
}

export function number(n) {
  if (n === null || n === undefined) return "–";
  // an interval, or an estimate with its error
  if (typeof n.estimate === "number") return `${number(n.estimate)} [${number(n.low)}, ${number(n.high)}]`;
  if (typeof n.value === "number") return `${number(n.value)} ± ${number(n.error)}`;
  if (typeof n !== "number") return typeof n === "object" ? JSON.stringify(n) : String(n);
  if (Number.isInteger(n)) return count(n);
  return Math.abs(n) >= 0.001 && Math.abs(n) < 1e6 ? String(Number(n.toPrecision(4))) : n.toExponential(2);
}

/** Types of a cache: one when K and V are alike. */
export const pair = (k, v) => (k === v ? k : `${k}/${v}`);
