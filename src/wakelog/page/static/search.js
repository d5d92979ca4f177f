// The search box: one line of text that says everything, and controls that write into it.
import { el, once } from "./dom.js";

const WORD = /(?:([a-z]+):)?("[^"]*"|\S+)/g;
const PERIODS = [
  ["", "Any time"], ["since:15m", "Last 15 minutes"], ["since:1h", "Last hour"], ["since:today", "Today"],
  ["since:yesterday until:today", "Yesterday"], ["since:24h", "Last 24 hours"], ["since:7d", "Last 7 days"], ["since:30d", "Last 30 days"],
];
const TYPES = [
  ["", "Any event"], ["tool_call", "Tool calls"], ["model_call", "Model calls"], ["run", "Runs"], ["user_message", "User messages"],
  ["agent_handoff", "Hand-offs"], ["human_approval", "Approvals"], ["policy_check", "Policy checks"], ["decision", "Decisions"], ["error", "Errors"],
  ["log", "Log records"],
];

const words = (query) => [...query.matchAll(WORD)].map((found) => ({ key: found[1] ?? null, word: found[0], value: found[2] }));

// Puts a word in the place of all that have one of some keys; an empty one takes them away.
export function written(query, keys, word) {
  const kept = words(query).filter((one) => !keys.includes(one.key ?? one.word)).map((one) => one.word);
  return [...kept, word].filter(Boolean).join(" ");
}

const chosen = (query, keys) => words(query).filter((one) => keys.includes(one.key ?? one.word)).map((one) => one.word).join(" ");

export function searchBox(query, { hint, change, failed = true, types = true }) {
  const input = el("input", {
    type: "search", id: "search", value: query, placeholder: hint, autocomplete: "off", spellcheck: "false", "aria-label": "Search",
    "aria-describedby": "search-help",
  });
  const tell = () => change(input.value.trim());
  const later = once(250, tell);
  const put = (keys, word) => {
    input.value = written(input.value, keys, word);
    show();
    tell();
  };
  const period = menu("When", PERIODS, (value) => put(["since", "until"], value));
  const type = types ? menu("Event", TYPES, (value) => put(["type"], value && `type:${value}`)) : null;
  const failures = failed
    ? el("button", { type: "button", class: "toggle", text: "Failed", on: { click: () => put(["failed", "errors"], failures.ariaPressed === "true" ? "" : "failed") } })
    : null;

  function show() {
    choose(period, PERIODS, chosen(input.value, ["since", "until"]));
    if (type) choose(type, TYPES, chosen(input.value, ["type"]).replace("type:", ""));
    failures?.setAttribute("aria-pressed", chosen(input.value, ["failed", "errors"]) ? "true" : "false");
  }
  show();
  input.addEventListener("input", () => {
    show();
    later();
  });
  const form = el("form", { class: "search", role: "search", on: { submit: (event) => { event.preventDefault(); tell(); } } },
    el("div", { class: "search-line" }, el("span", { class: "lens", "aria-hidden": "true", text: "⌕" }), input, el("kbd", { text: "/" })),
    el("div", { class: "search-more" }, period, type, failures,
      el("span", { id: "search-help", class: "soft small" }, "also ", ...["agent:", "tool:", "session:", "run:", "since:2h"].flatMap((word) => [el("code", { text: word }), " "]))),
    el("p", { class: "problem", id: "search-problem", role: "alert", hidden: true }));
  return form;
}

export function searchProblem(text) {
  const said = document.getElementById("search-problem");
  if (!said) return;
  said.textContent = text;
  said.hidden = !text;
}

function menu(label, options, change) {
  return el("select", { "aria-label": label, on: { change: (event) => change(event.target.value) } },
    options.map(([value, text]) => el("option", { value, text })));
}

function choose(select, options, value) {
  let own = select.querySelector("option.own");
  if (!options.some(([known]) => known === value)) {
    if (!own) {
      own = el("option", { class: "own" });
      select.append(own);
    }
    own.value = value;
    own.textContent = value;
  } else {
    own?.remove();
  }
  select.value = value;
}
