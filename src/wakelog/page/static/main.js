// The page: which view an address means, the bar at its top, and the keyboard.
import { el, place, say } from "./dom.js";
import { Comparison } from "./compare.js";
import { Figures } from "./figures.js";
import { Health } from "./health.js";
import { EventList, SummaryList } from "./lists.js";
import { SessionView } from "./session.js";
import { source } from "./source.js";

const TABS = [["sessions", "Sessions"], ["runs", "Runs"], ["events", "Events"], ["statistics", "Statistics"], ["health", "Health"]];
const OFFLINE = new Set(["sessions", "runs", "events"]);
const KEYS = [
  ["/", "search"], ["1 … 5", "sessions, runs, events, statistics, health"], ["j k ↓ ↑", "next and previous"], ["o Enter", "show all of a step"],
  ["← →", "fold and unfold a run"], ["e", "next failure"], ["Home End", "first and last step"], ["Esc", "back to the list"], ["?", "these keys"],
];
const main = document.getElementById("main");
const banner = document.getElementById("top");
let home = null;
let view = null;
let tab = "sessions";
let turn = 0;

function address() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const parts = path.split("/").filter(Boolean).map((part) => {
    try {
      return decodeURIComponent(part);
    } catch {
      return part;
    }
  });
  return { parts, query: new URLSearchParams(query ?? "") };
}

function remember(values) {
  const query = new URLSearchParams(Object.entries(values).filter(([, value]) => value && value !== "time"));
  history.replaceState(null, "", `${location.pathname}${location.hash.split("?")[0] || "#/sessions"}${query.size ? `?${query}` : ""}`);
}

function viewOf({ parts, query }) {
  const [name, ...rest] = parts;
  const asked = { query: query.get("q") ?? "", sort: query.get("sort"), remember, home };
  if (name === "session" || name === "run") return [`${name}s`, rest[0], new SessionView({ unit: name, id: rest[0] ?? "", home, focus: query.get("at") })];
  if (name === "compare") return [`${rest[0]}s`, "Compare", new Comparison({ unit: rest[0] === "run" ? "run" : "session", left: rest[1], right: rest[2] })];
  if (name === "runs") return [name, "Runs", new SummaryList({ unit: "run", ...asked })];
  if (name === "events") return [name, "Events", new EventList(asked)];
  if (name === "statistics" && source.live) return [name, "Statistics", new Figures(asked)];
  if (name === "health" && source.live) return [name, "Health", new Health({ home })];
  return ["sessions", "Sessions", new SummaryList({ unit: "session", ...asked })];
}

async function go() {
  const mine = ++turn;
  view?.stop();
  view = null;
  say("");
  for (const name of Object.keys(document.documentElement.dataset)) delete document.documentElement.dataset[name];
  if (!home) {
    try {
      home = await source.get("home");
    } catch (error) {
      ask(error);
      return;
    }
  }
  if (mine !== turn) return; // the address has changed meanwhile
  const { parts } = address();
  if (!source.live && !parts.length) {
    // A file about one session begins with it.
    const { rows } = await source.get("sessions");
    if (rows.length === 1) history.replaceState(null, "", place("session", rows[0].id));
  }
  const [named, title, made] = viewOf(address());
  view = made;
  tab = named;
  document.title = `${title} · Wakelog`;
  top();
  window.scrollTo(0, 0);
  try {
    await view.start(main);
  } catch (error) {
    if (error.status === 401) ask(error);
    else say(error.message);
  }
}

function top() {
  const tabs = TABS.filter(([name]) => source.live || OFFLINE.has(name));
  banner.replaceChildren(
    el("a", { class: "brand", href: "#/sessions" }, el("span", { class: "mark", "aria-hidden": "true", text: "≋" }), "Wakelog"),
    el("nav", { "aria-label": "Views" }, tabs.map(([name, text]) => el("a", { href: place(name), "aria-current": tab === name ? "page" : null, text }))),
    el("span", { class: "where-from", title: home.path }, el("bdi", { text: source.live ? home.path : `Recorded: ${home.path}` })),
    el("button", { type: "button", class: "keys", "aria-label": "Keys", text: "?", on: { click: keys } }));
}

function ask(error) {
  const input = el("input", { type: "password", id: "token", autocomplete: "off", required: true });
  banner.replaceChildren(el("a", { class: "brand", href: "#/" }, el("span", { class: "mark", "aria-hidden": "true", text: "≋" }), "Wakelog"));
  const form = el("form", { class: "ask", on: { submit: (event) => { event.preventDefault(); source.use(input.value.includes("token=") ? input.value.split("token=")[1] : input.value); go(); } } },
    el("h1", { text: error.status === 401 ? "This page needs its token" : "The server does not answer" }),
    error.status === 401
      ? [el("p", { text: "Open the address that wakelog view has printed, or put its token here." }), el("label", { for: "token", text: "Token" }), input, el("button", { class: "button primary", text: "Open" })]
      : [el("p", { text: "Is wakelog view still running?" }), el("button", { class: "button primary", type: "button", text: "Try again", on: { click: go } })]);
  main.replaceChildren(form);
}

function keys() {
  const dialog = el("dialog", { class: "help", "aria-labelledby": "help-title", on: { close: () => dialog.remove() } },
    el("h2", { id: "help-title", text: "Keys" }), el("dl", {}, KEYS.flatMap(([key, text]) => [el("dt", {}, key.split(" ").map((one) => (one === "…" ? "… " : el("kbd", { text: one })))), el("dd", { text })])),
    el("form", { method: "dialog" }, el("button", { class: "button", text: "Close" })));
  document.body.append(dialog);
  dialog.showModal();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const typing = event.target.closest?.("input, select, textarea");
  if (typing) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const tabs = TABS.filter(([name]) => source.live || OFFLINE.has(name));
  if (event.key === "/") document.getElementById("search") ? document.getElementById("search").focus() : (location.hash = "#/events");
  else if (event.key === "?") keys();
  else if (event.key === "Escape") location.hash = place(tab);
  else if (tabs[Number(event.key) - 1]) location.hash = place(tabs[Number(event.key) - 1][0]);
  else if (!view?.key?.(event)) return;
  event.preventDefault();
});

window.addEventListener("hashchange", go);
go();
