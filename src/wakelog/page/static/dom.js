// Elements, made without markup: whatever was recorded becomes text and nothing else.

export function el(tag, given = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") {
      for (const [event, listener] of Object.entries(value)) made.addEventListener(event, listener);
    } else if (name === "text") {
      made.textContent = value;
    } else if (name === "class") {
      made.className = value;
    } else if (name === "value" || name === "checked" || name === "disabled" || name === "open") {
      made[name] = value;
    } else {
      made.setAttribute(name, value === true ? "" : value);
    }
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

// Puts children in the place of those that an element has; what is nothing is left out.
export const put = (element, ...children) => element.replaceChildren(...children.flat().filter((child) => child !== null && child !== undefined && child !== false && child !== ""));

// A link to another page, for addresses of http and https only.
export function outside(text, address) {
  let url;
  try {
    url = new URL(address);
  } catch {
    return null;
  }
  if (url.protocol !== "http:" && url.protocol !== "https:") return null;
  return el("a", { href: url.href, rel: "noopener noreferrer", target: "_blank", text: `${text} ↗` });
}

export const place = (...parts) => `#/${parts.map(encodeURIComponent).join("/")}`;

export function say(text) {
  const said = document.getElementById("said");
  said.textContent = text;
  said.classList.toggle("shown", Boolean(text));
}

const grouped = new Intl.NumberFormat("en");
const dated = new Intl.DateTimeFormat("en", { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const exact = new Intl.DateTimeFormat("en", {
  year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit",
  fractionalSecondDigits: 3, hourCycle: "h23", timeZoneName: "short",
});
const clocked = new Intl.DateTimeFormat("en", { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });

export const number = (value) => (value === null || value === undefined ? "–" : grouped.format(value));

export function short(value) {
  if (value === null || value === undefined) return "–";
  if (value < 10_000) return grouped.format(value);
  return value < 1_000_000 ? `${(value / 1000).toFixed(value < 100_000 ? 1 : 0)}k` : `${(value / 1e6).toFixed(1)}M`;
}

export function money(value) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "$0";
  return value < 0.01 ? `$${value.toPrecision(2)}` : `$${value.toFixed(value < 1 ? 3 : 2)}`;
}

export function bytes(value) {
  if (value === null || value === undefined) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit ? value.toFixed(1) : value} ${units[unit]}`;
}

// Of microseconds.
export function duration(value) {
  if (value === null || value === undefined) return "–";
  if (value < 1000) return `${(value / 1000).toFixed(2)} ms`;
  const milliseconds = value / 1000;
  if (milliseconds < 1000) return `${milliseconds.toFixed(0)} ms`;
  const seconds = milliseconds / 1000;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86_400)} days`;
}

export const when = (value) => (value === null || value === undefined ? "–" : dated.format(new Date(value / 1000)));
export const clock = (value) => (value === null || value === undefined ? "–" : clocked.format(new Date(value / 1000)));
export const moment = (value) => (value === null || value === undefined ? "–" : exact.format(new Date(value / 1000)));
export const micros = (text) => (text ? Date.parse(text) * 1000 : null);

export function ago(value) {
  if (value === null || value === undefined) return "–";
  const passed = Math.max(0, Date.now() * 1000 - value);
  const seconds = passed / 1e6;
  if (seconds < 5) return "just now";
  for (const [length, unit, limit] of [[1, "s", 60], [60, "min", 60], [3600, "h", 48]]) {
    if (seconds / length < limit) return `${Math.floor(seconds / length)} ${unit} ago`;
  }
  return `${Math.floor(seconds / 86_400)} days ago`;
}

export const SIGNS = { success: "✓", error: "✗", cancelled: "⊘", running: "◐", unknown: "?" };
const ALIKE = { approved: "success", passed: "success", allowed: "success", granted: "success", denied: "error", rejected: "error", refused: "error", blocked: "error" };
const WORDS = { success: "succeeded", error: "failed", running: "running", unknown: "outcome unknown" };

export const statusWord = (status) => WORDS[status] ?? status ?? "";

export function badge(status) {
  if (!status || status === "started") return null;
  const alike = ALIKE[status] ?? status;
  const kind = SIGNS[alike] ? alike : "other";
  return el("span", { class: `badge ${kind}` }, el("span", { "aria-hidden": "true", text: SIGNS[alike] ?? "•" }), ` ${statusWord(status)}`);
}

export function once(milliseconds, action) {
  let timer = 0;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => action(...given), milliseconds);
  };
}

export const hueOf = (text) => {
  let sum = 0;
  for (const letter of text ?? "") sum = (sum * 31 + letter.codePointAt(0)) % 9973;
  return `agent-${sum % 8}`;
};
