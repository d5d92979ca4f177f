// One step as a card: what it is in a line, what was said below, and everything that was recorded on request.
import { SIGNS, badge, clock, duration, el, hueOf, moment, money, number, outside, short, statusWord } from "./dom.js";

const LABELS = {
  run: "run", model: "model", tool: "tool", user_message: "user", assistant_message: "assistant", system_instruction: "system", agent_handoff: "hand-off",
  human_approval: "approval", policy_check: "policy", sub_agent_invoked: "sub-agent", memory_recall: "memory", memory_write: "memory",
  retrieval_query: "retrieval", retrieval_result: "retrieval", usage_limit_exceeded: "limit", context_compacted: "context", thinking_delta: "reasoning",
};
const SAID = new Set(["user_message", "assistant_message"]);
const FIRST_LINES = 700;
const ANSWERED = new Set(["arguments", "result", "input", "output", "instructions"]);

export const labelOf = (step) => LABELS[step.kind === "event" ? step.type : step.kind] ?? step.type.replaceAll("_", " ");

export function titleOf(step) {
  if (step.kind === "run") return step.agent ?? step.name ?? "run";
  if (step.type === "sub_agent_invoked") return step.agent ?? "";
  return step.name ?? "";
}

const kindOf = (step) => {
  if (step.kind !== "event") return step.kind;
  if (SAID.has(step.type) || step.type === "system_instruction") return "talk";
  if (step.type === "error" || step.status === "error") return "error";
  if (step.type === "human_approval" || step.type === "policy_check") return "gate";
  return "event";
};

// `home` has: settings of the page, `whole` fetches everything that was said, `fold` folds a run.
export function card(step, home) {
  const body = el("div", { class: "card-body" });
  const more = el("div", { class: "card-more", hidden: true });
  const run = step.kind === "run";
  const toggle = el("button", {
    type: "button", class: "card-head", "aria-expanded": "false",
    on: { click: () => { home.select(step.key); home.open(step.key); } },
  }, head(step));
  const folds = run && step.children.length > 0
    ? el("button", { type: "button", class: "fold", "aria-label": `Fold ${titleOf(step)}`, "aria-expanded": String(!home.folded(step.key)), on: { click: () => home.fold(step.key) } },
      el("span", { "aria-hidden": "true", text: home.folded(step.key) ? "▸" : "▾" }))
    : null;
  const made = el("article", {
    class: `card ${kindOf(step)} ${step.status === "unknown" || step.status === "running" ? step.status : ""} ${step.failed ? "failed" : ""} ${hueOf(step.agent)}`,
    tabindex: "-1", "data-key": step.key, "data-status": step.status ?? "", "data-type": step.type, "aria-label": `${labelOf(step)} ${titleOf(step)} ${statusWord(step.status)}`,
  }, el("div", { class: "card-line" }, folds, toggle), body, more);
  made.style.setProperty("--depth", Math.min(step.depth, 8));
  return { made, body, more, toggle, version: step.version, filled: "" };
}

function head(step) {
  const used = [];
  if (step.kind !== "run") {
    const [input, output] = [step.figure("input_tokens"), step.figure("output_tokens")];
    if (input !== null || output !== null) used.push(el("span", { class: "used", title: `${number(input)} tokens in, ${number(output)} out` , text: `${short(input ?? 0)} → ${short(output ?? 0)} tok` }));
    const cost = step.figure("cost");
    if (cost !== null) used.push(el("span", { class: "used", text: money(cost) }));
  }
  const told = step.kind === "event" && step.status === "error";
  const shown = told || (step.status === "success" && step.kind !== "run") ? null : badge(step.status);
  const other = step.kind !== "run" && step.agent && step.agent !== step.parent?.agent && step.type !== "sub_agent_invoked";
  return [
    el("span", { class: "label", text: labelOf(step) }),
    el("span", { class: "title", text: titleOf(step) }),
    other ? el("span", { class: "by", text: step.agent }) : null,
    shown,
    el("span", { class: "figures" }, ...used,
      step.took !== null ? el("span", { class: "took", text: duration(step.took) }) : null,
      el("time", { text: clock(step.start), title: moment(step.start) })),
  ];
}

// Puts what was said into a card, as soon as it is known.
export function fill(one, step, known, home) {
  const found = step.keys.map((key) => known.get(key)).filter(Boolean);
  const mark = step.keys.filter((key) => known.has(key)).join();
  if (!found.length || one.filled === mark) return;
  one.filled = mark;
  const named = found.map((content) => content.name).find(Boolean);
  if (step.kind === "event" && named && !titleOf(step)) one.made.querySelector(".title").textContent = named;
  one.body.replaceChildren(...preview(step, found, home));
}

function preview(step, found, home) {
  const blocks = found.flatMap((one) => one.blocks);
  const parts = [];
  if (step.kind === "event" && found[0].message !== null && found[0].summary && !SAID.has(step.type) && step.type !== "system_instruction") {
    parts.push(el("p", { class: "summary" }, found[0].level && found[0].level !== "INFO" ? el("span", { class: `level ${found[0].level.toLowerCase()}`, text: found[0].level }) : null, found[0].message ?? found[0].summary));
  } else if (step.kind === "event" && !SAID.has(step.type) && step.type !== "system_instruction") {
    parts.push(el("p", { class: "summary", text: found[0].summary }));
  } else if (step.kind === "tool") {
    parts.push(...toolLines(blocks));
  } else if (step.kind === "run") {
    const asked = found[0].summary;
    if (asked && asked !== titleOf(step)) parts.push(el("p", { class: "summary", text: asked }));
  } else {
    parts.push(...talk(step, blocks, home));
  }
  const failure = found.map((one) => one.exception).find(Boolean);
  if (failure) parts.push(el("p", { class: "failure" }, el("strong", { text: failure.type ?? "error" }), failure.message ? `: ${failure.message.slice(0, FIRST_LINES)}` : ""));
  else if (step.failed && (step.close?.error ?? step.row.error) && step.type !== "error") parts.push(el("p", { class: "failure" }, el("strong", { text: step.close?.error ?? step.row.error })));
  if (!["model", "talk"].includes(kindOf(step))) parts.push(...imagesIn(blocks).map((block) => picture(block)));
  return parts;
}

const imagesIn = (blocks) => blocks.flatMap((block) => (block.kind === "image" ? [block] : block.kind === "messages" ? block.messages.flatMap((message) => imagesIn(message.parts)) : []));

function toolLines(blocks) {
  const lines = [];
  for (const [label, sign] of [["arguments", "("], ["result", "→"]]) {
    const block = blocks.find((one) => one.label === label && (one.text !== undefined || one.kind === "messages"));
    if (!block) continue;
    const said = block.kind === "messages" ? block.messages.flatMap((message) => message.parts).filter((part) => part.text !== undefined) : [block];
    const text = said.map((part) => (part.kind === "json" ? flat(part.text) : part.text)).join(" ");
    if (!text && block.kind === "messages") continue;
    lines.push(el("p", { class: `value ${label}` }, el("span", { class: "sign", "aria-hidden": "true", text: sign === "(" ? "⇢" : sign }), el("span", { class: "said", text: text.slice(0, 400) })));
  }
  return lines;
}

// JSON on one line, as far as it is shown.
const flat = (text) => text.replace(/\n\s*/g, " ").replace(/([[{]) /g, "$1").replace(/ ([\]}])/g, "$1");

function talk(step, blocks) {
  const parts = [];
  const wanted = step.kind === "model" ? ["output"] : ["input", "output", "instructions"];
  for (const block of blocks.filter((one) => wanted.includes(one.label))) {
    if (block.kind === "messages") {
      for (const message of block.messages) parts.push(...message.parts.map((part) => partOf(part)));
    } else if (block.text !== undefined) {
      parts.push(el("div", { class: "text" }, long(block.text)));
    }
  }
  if (step.kind === "model") {
    const prompt = blocks.find((one) => one.label === "input");
    if (prompt) {
      const count = prompt.kind === "messages" ? prompt.messages.length : 0;
      parts.unshift(el("details", { class: "prompt" }, el("summary", { text: count > 1 ? `Prompt, ${count} messages` : "Prompt" }), ...valueOf(prompt)));
    }
  }
  return parts;
}

function partOf(part) {
  if (part.kind === "reasoning") return el("details", { class: "reasoning" }, el("summary", { text: "Reasoning" }), el("div", { class: "text", text: part.text }), cutNote(part));
  if (part.kind === "call") return el("p", { class: "value call" }, el("span", { class: "label", text: "calls" }), el("strong", { text: part.name }), " ", el("span", { class: "said", text: flat(part.text).slice(0, 400) }));
  if (part.kind === "answer") return el("p", { class: "value answer" }, el("span", { class: "label", text: "result" }), el("span", { class: "said", text: flat(part.text).slice(0, 2000) }));
  if (part.kind === "image") return picture(part);
  if (part.kind === "json") return el("pre", { tabindex: "0", text: part.text });
  return el("div", { class: "text" }, long(part.text), cutNote(part));
}

function long(text) {
  if (text.length <= FIRST_LINES) return text;
  return [el("span", { text: `${text.slice(0, FIRST_LINES)}…` })];
}

const cutNote = (part) => (part.more ? el("p", { class: "soft small", text: `${number(part.more)} more characters` }) : null);

function picture(block) {
  return el("img", { class: "picture", src: `data:${block.media};base64,${block.data}`, alt: `Image from ${block.label ?? "a message"}`, loading: "lazy" });
}

function valueOf(block) {
  if (block.kind === "messages") {
    return block.messages.map((message) => el("div", { class: "message" },
      message.role ? el("span", { class: `role ${message.role}`, text: message.role }) : null,
      el("div", { class: "message-parts" }, message.parts.map((part) => whole(part)))));
  }
  return [whole(block)].flat();
}

function whole(part) {
  if (part.kind === "image") return picture(part);
  if (part.kind === "pairs") {
    return el("dl", { class: "pairs" }, part.pairs.flatMap(([name, value]) => [el("dt", { text: name }), el("dd", { text: value })]));
  }
  if (part.kind === "reasoning") return el("details", { class: "reasoning" }, el("summary", { text: "Reasoning" }), el("div", { class: "text", text: part.text }));
  if (part.kind === "call") return el("div", {}, el("p", { class: "value call" }, el("span", { class: "label", text: "calls" }), el("strong", { text: part.name })), el("pre", { tabindex: "0", text: part.text }));
  const shown = part.kind === "text" && part.label !== "traceback" ? el("div", { class: "text", text: part.text }) : el("pre", { tabindex: "0", text: part.text });
  return part.more ? el("div", {}, shown, cutNote(part)) : shown;
}

// All that was recorded of a step.
export function everything(step, found, home) {
  const facts = el("dl", { class: "facts" });
  const fact = (name, ...value) => value.some(Boolean) && facts.append(el("dt", { text: name }), el("dd", {}, ...value));
  fact("Time", found[0]?.time ?? moment(step.start));
  if (step.took !== null) fact("Took", duration(step.took));
  if (step.status) fact("Status", `${SIGNS[step.status] ?? ""} ${statusWord(step.status)}`);
  fact("Agent", step.agent);
  if (step.run) fact("Run", home.runLink(step.run));
  for (const [name, label] of [["input_tokens", "Tokens in"], ["output_tokens", "Tokens out"], ["cache_read", "From cache"], ["reasoning", "Reasoning"]]) {
    if (step.kind !== "run" && step.figure(name) !== null) fact(label, number(step.figure(name)));
  }
  if (step.kind !== "run" && step.figure("cost") !== null) fact("Cost", money(step.figure("cost")));
  fact("Event", el("code", { text: step.row.id ?? step.key }));
  const trace = found.map((one) => one.trace).find((id) => /^[0-9a-f]{32}$/.test(id ?? ""));
  if (trace) fact("Trace", el("code", { text: trace }), " ", home.traceUrl ? outside("open", home.traceUrl.replace("{trace_id}", trace)) : null);
  const parts = [];
  const seen = new Set();
  for (const [place, one] of found.entries()) {
    for (const block of one.blocks) {
      const same = JSON.stringify([block.label, block.text, block.messages?.length]);
      if (block.kind !== "pairs" && ANSWERED.has(block.label) && seen.has(same)) continue;
      seen.add(same);
      const label = block.kind === "pairs" && found.length > 1 ? (place ? "attributes of the answer" : "attributes of the call") : block.label;
      const content = valueOf(block);
      parts.push(block.kind === "pairs" ? el("details", { class: "block" }, el("summary", { text: label }), content) : el("section", { class: "block" }, el("h3", { text: label }), content));
    }
  }
  return [facts, ...parts];
}
