// Two sessions or runs beside each other: what they add up to, and which steps differ.
import { badge, duration, el, money, number, place, put, say, short } from "./dom.js";
import { labelOf, titleOf } from "./cards.js";
import { Recorded } from "./model.js";
import { source } from "./source.js";

const MOST_MATCHED = 1500;
const MOST_SHOWN = 400;

export class Comparison {
  constructor({ unit, left, right }) {
    Object.assign(this, { unit, left, right });
  }

  async start(main) {
    this.body = el("div", {}, el("p", { class: "soft", text: "Loading…" }));
    const name = this.unit === "session" ? "sessions" : "runs";
    main.replaceChildren(el("div", { class: "list-head" }, el("h1", { text: `Compare ${name}` })), this.body);
    if (!this.right) {
      await this.#choose(name);
      return;
    }
    const [left, right] = await Promise.all([this.left, this.right].map((id) => this.#read(id)));
    this.body.replaceChildren(this.#table(left, right), el("p", { class: "soft", id: "differ" }), this.#steps(left, right));
    document.documentElement.dataset.compared = "1";
  }

  stop() {
    this.stopped = true;
  }

  key() {
    return false;
  }

  async #choose(name) {
    const { rows } = await source.get(name, { limit: 100 });
    const others = rows.filter((one) => one.id !== null && one.id !== this.left);
    put(this.body, el("p", {}, "With which one do you compare ", el("strong", { text: this.left }), "?"),
      others.length ? el("ul", { class: "choices" }, others.map((one) => el("li", {}, el("a", { href: place("compare", this.unit, this.left, one.id), text: one.id }), el("span", { class: "soft", text: ` ${number(one.events)} events` })))) : el("p", { class: "soft", text: "There is no other one." }));
  }

  async #read(id) {
    const recorded = new Recorded();
    recorded.take(await source.get("session", { [this.unit]: id }));
    return recorded.build();
  }

  #table(left, right) {
    const rows = [
      ["Took", (one) => one.total.end - one.total.begin, duration], ["Steps", (one) => one.steps.length, number], ["Model calls", (one) => one.total.models, number],
      ["Tool calls", (one) => one.total.tools, number], ["Failed", (one) => one.total.errors, number], ["Outcome unknown", (one) => one.total.unknown, number],
      ["Tokens in", (one) => one.total.input, short], ["Tokens out", (one) => one.total.output, short], ["Cost", (one) => one.total.cost, money],
    ];
    const link = (id) => el("a", { href: place(this.unit, id), text: id });
    return el("div", { class: "table-box", tabindex: "0", role: "group", "aria-label": "What they add up to" }, el("table", { class: "list compare-sums" },
      el("thead", {}, el("tr", {}, el("th", { scope: "col", text: "" }, el("span", { class: "hidden", text: "Figure" })), el("th", { class: "num", scope: "col" }, link(this.left)), el("th", { class: "num", scope: "col" }, link(this.right)), el("th", { class: "num", scope: "col", text: "Difference" }))),
      el("tbody", {}, rows.map(([name, value, write]) => {
        const [a, b] = [value(left), value(right)];
        const sound = Number.isFinite(a) && Number.isFinite(b) && a !== null && b !== null;
        const by = sound && a !== b ? `${b > a ? "+" : "−"}${write(Math.abs(b - a))}${a ? ` (${b > a ? "+" : "−"}${Math.abs(((b - a) / a) * 100).toFixed(0)} %)` : ""}` : a === b ? "same" : "";
        return el("tr", {}, el("th", { scope: "row", text: name }), el("td", { class: "num", text: write(a) }), el("td", { class: "num", text: write(b) }), el("td", { class: `num ${by === "same" ? "soft" : ""}`, text: by }));
      }))));
  }

  #steps(left, right) {
    const pairs = matched(left.steps, right.steps);
    const shown = pairs.slice(0, MOST_SHOWN);
    const body = el("tbody");
    const lines = shown.map(([a, b]) => {
      const line = { a, b, left: el("td", {}, a && this.#step(a)), right: el("td", {}, b && this.#step(b)), sign: el("td", { class: "sign" }) };
      line.made = el("tr", {}, line.left, line.sign, line.right);
      mark(line);
      return line;
    });
    body.append(...lines.map((line) => line.made));
    this.#said(lines, pairs.length);
    return el("div", { class: "table-box", tabindex: "0", role: "group", "aria-label": "Steps" }, el("table", { class: "list compare-steps" }, el("thead", {}, el("tr", {}, el("th", { scope: "col", text: this.left }), el("th", { scope: "col" }, el("span", { class: "hidden", text: "Differs" })), el("th", { scope: "col", text: this.right }))), body),
      pairs.length > shown.length ? el("p", { class: "soft", text: `The first ${MOST_SHOWN} of ${number(pairs.length)} steps.` }) : null);
  }

  #step(step) {
    return el("div", { class: "compare-step" }, el("span", { class: "label", text: labelOf(step) }), el("strong", { text: titleOf(step) }), " ", badge(step.status === "success" ? null : step.status),
      el("span", { class: "took soft", text: step.took === null ? "" : duration(step.took) }), el("p", { class: "said" }));
  }

  async #said(lines, all) {
    const keys = lines.flatMap(({ a, b }) => [a, b].filter(Boolean).flatMap((step) => step.keys)).filter((key) => /^\d+-\d+$/.test(key));
    const known = {};
    for (let from = 0; from < keys.length && !this.stopped; from += 200) {
      Object.assign(known, await source.contents(keys.slice(from, from + 200)));
    }
    const text = (step) => step?.keys.map((key) => known[key]?.summary).filter(Boolean).join(" ⇢ ") ?? "";
    for (const line of lines) {
      for (const [step, cell] of [[line.a, line.left], [line.b, line.right]]) {
        if (step) cell.querySelector(".said").textContent = text(step).slice(0, 300);
      }
      line.differs = line.a && line.b ? text(line.a) !== text(line.b) : false;
      mark(line);
    }
    const count = lines.filter((line) => line.made.className).length;
    const said = document.getElementById("differ");
    if (said) said.textContent = count ? `${number(count)} of ${number(all)} steps differ.` : "No step differs.";
    document.documentElement.dataset.differ = count;
    say("");
  }
}

function mark(line) {
  const kind = !line.a ? "added" : !line.b ? "removed" : line.a.status !== line.b.status || line.differs ? "differs" : "";
  line.made.className = kind;
  line.sign.textContent = { added: "+", removed: "−", differs: "≠" }[kind] ?? "";
  if (kind) line.sign.setAttribute("aria-label", { added: "only on the right", removed: "only on the left", differs: "differs" }[kind]);
}

// Pairs steps of one kind and name in the same order: a longest common subsequence.
function matched(left, right) {
  const name = (step) => `${step.kind} ${step.type} ${step.name ?? ""}`;
  const [a, b] = [left.slice(0, MOST_MATCHED), right.slice(0, MOST_MATCHED)];
  const [n, m] = [a.length, b.length];
  const words = new Map();
  const numbered = (steps) => Int32Array.from(steps, (step) => {
    const word = name(step);
    if (!words.has(word)) words.set(word, words.size);
    return words.get(word);
  });
  const [x, y] = [numbered(a), numbered(b)];
  const best = new Uint16Array((n + 1) * (m + 1));
  for (let i = n - 1; i >= 0; i -= 1) {
    for (let j = m - 1; j >= 0; j -= 1) {
      best[i * (m + 1) + j] = x[i] === y[j] ? best[(i + 1) * (m + 1) + j + 1] + 1 : Math.max(best[(i + 1) * (m + 1) + j], best[i * (m + 1) + j + 1]);
    }
  }
  const pairs = [];
  let [i, j] = [0, 0];
  while (i < n || j < m) {
    if (i < n && j < m && x[i] === y[j]) pairs.push([a[i++], b[j++]]);
    else if (j >= m || (i < n && best[(i + 1) * (m + 1) + j] >= best[i * (m + 1) + j + 1])) pairs.push([a[i++], null]);
    else pairs.push([null, b[j++]]);
  }
  return pairs;
}
