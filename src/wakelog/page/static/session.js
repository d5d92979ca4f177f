// A session or a run: what was said and done, beside a timeline, and live while it goes on.
import { ago, duration, el, money, moment, number, once, place, say, short, when } from "./dom.js";
import { card, everything, fill, labelOf, titleOf } from "./cards.js";
import { Recorded } from "./model.js";
import { source } from "./source.js";
import { Timeline } from "./timeline.js";

const CHUNK = 40;
const HEIGHT = 74; // of a card that has not been drawn yet
const MOST_KNOWN = 3000;
const IS_POSITION = /^\d+-\d+$/;

export class SessionView {
  constructor({ unit, id, home, focus }) {
    Object.assign(this, { unit, id, settings: home, wanted: focus });
    this.recorded = new Recorded();
    this.known = new Map();
    this.asked = new Set();
    this.cards = new Map();
    this.openKeys = new Set();
    this.foldedRuns = new Set();
    this.only = "all";
    this.chunks = [];
    this.items = [];
    this.selected = null;
    this.pinned = false;
    this.fetchSoon = once(0, () => this.#fetch());
    this.home = {
      traceUrl: home.trace_url,
      select: (key) => this.select(key),
      open: (key) => this.toggle(key),
      fold: (key) => this.fold(key),
      folded: (key) => this.foldedRuns.has(key),
      runLink: (run) => el("a", { href: place("run", run), text: run }),
    };
  }

  start(main) {
    this.heading = el("div", { class: "session-head" });
    this.feed = el("div", { class: "feed", role: "feed", "aria-label": "What happened", "aria-busy": "true" });
    this.timeline = new Timeline({ select: (key) => this.reveal(key) });
    this.note = el("p", { class: "soft", text: "Loading…" });
    this.aside = el("aside", { class: "beside", "aria-label": "Timeline" }, el("div", { class: "beside-in" }, el("h2", { text: "Timeline" }), this.timeline.made, legend()));
    main.replaceChildren(this.heading, el("div", { class: "session" }, el("section", { class: "talk", "aria-label": "Conversation" }, el("h2", { class: "hidden", text: "What happened" }), this.note, this.feed), this.aside));
    this.seen = new Set();
    this.observer = new IntersectionObserver((entries) => this.#seen(entries), { rootMargin: "900px 0px" });
    this.scrolled = () => this.#scroll();
    window.addEventListener("scroll", this.scrolled, { passive: true });
    this.leave = source.follow({ [this.unit]: this.id }, (kind, data) => this.#take(kind, data));
    this.ticking = setInterval(() => this.view?.total.open && this.#lines(), 1000);
  }

  stop() {
    this.leave();
    clearInterval(this.ticking);
    this.observer.disconnect();
    this.timeline.leave();
    window.removeEventListener("scroll", this.scrolled);
  }

  #take(kind, data) {
    if (kind === "first" || kind === "rows") {
      this.trouble = "";
      if (data.more !== undefined) this.partial = data.more;
      const before = this.recorded.living;
      const first = !this.view;
      const fresh = this.recorded.take(data);
      const same = before.size === this.recorded.living.size && [...before].every((one) => this.recorded.living.has(one));
      if (first || fresh.length || !same || data.more === false) this.#changed(first);
    } else if (kind === "problem") {
      this.trouble = data.text || "The server does not answer. Is `wakelog view` still running?";
      say(this.trouble);
    }
    if (kind === "first") say("");
  }

  #changed(first) {
    const bottom = this.pinned || (!first && this.#atBottom());
    this.view = this.recorded.build();
    this.#header();
    if (!this.partial) this.timeline.show(this.view);
    this.#list();
    this.note.hidden = this.view.steps.length > 0 && !this.recorded.cut;
    this.note.textContent = this.view.steps.length ? "Only the newest 50,000 events are shown." : `There is no ${this.unit} ${this.id} here.`;
    this.feed.setAttribute("aria-busy", "false");
    if (this.wanted && !this.partial) {
      this.reveal(this.#keyOf(this.wanted), true);
      this.wanted = null;
    } else if (bottom && !first) window.scrollTo(0, document.documentElement.scrollHeight);
    else this.#scroll();
    if (!this.partial) document.documentElement.dataset.steps = this.view.steps.length;
  }

  #keyOf(key) {
    return this.view.steps.find((step) => step.keys.includes(key))?.key ?? key;
  }

  #header() {
    const { total, agents, steps } = this.view;
    const live = total.open > 0;
    const tile = (label, value, kind = "", title = null) => el("div", { class: `tile ${kind}`, title }, el("dt", { text: label }), el("dd", { text: this.partial ? "…" : value }));
    const tokens = total.input === null && total.output === null ? null : `${short(total.input ?? 0)} → ${short(total.output ?? 0)}`;
    const words = this.unit === "session" ? "Session" : "Run";
    const only = ["all", "failed", "talk", "tools"].map((name) => el("button", {
      type: "button", class: "toggle", "aria-pressed": String(this.only === name), "data-only": name,
      text: { all: "Everything", failed: "Failures", talk: "Messages", tools: "Tools" }[name], on: { click: () => this.show(name) },
    }));
    this.heading.replaceChildren(
      el("div", { class: "session-title" },
        el("div", {}, el("p", { class: "crumb" }, el("a", { href: place(this.unit === "session" ? "sessions" : "runs"), text: this.unit === "session" ? "Sessions" : "Runs" }), ` / ${words}`),
          el("h1", { text: this.id })),
        el("div", { class: "session-state" },
          live ? el("span", { class: "badge running" }, el("span", { class: "pulse", "aria-hidden": "true" }), " running") : null,
          total.unknown ? el("span", { class: "badge unknown", text: `? ${total.unknown} outcome${total.unknown > 1 ? "s" : ""} unknown` }) : null,
          source.live ? el("a", { class: "button", href: place("compare", this.unit, this.id), text: "Compare" }) : null)),
      el("dl", { class: "tiles" },
        tile("Started", steps.length ? when(total.begin) : "–", "", moment(total.begin)), tile("Took", steps.length ? duration(total.end - total.begin) : "–"),
        tile("Models", number(total.models)), tile("Tools", number(total.tools)), tile("Failed", number(total.errors), total.errors ? "bad" : ""),
        tokens ? tile("Tokens", tokens) : null, total.cost !== null ? tile("Cost", money(total.cost)) : null,
        tile(agents.length === 1 ? "Agent" : "Agents", agents.length > 3 ? `${agents.slice(0, 3).join(", ")} +${agents.length - 3}` : agents.join(", ") || "–")),
      el("div", { class: "session-tools", role: "group", "aria-label": "What is shown" }, only));
  }

  show(name) {
    this.only = name;
    this.#header();
    this.#list();
    this.heading.querySelector(`[data-only=${name}]`)?.focus();
  }

  #visible(step) {
    for (let above = step.parent; above; above = above.parent) if (this.foldedRuns.has(above.key)) return false;
    if (this.only === "failed") return step.failed || step.status === "unknown";
    if (this.only === "talk") return step.kind === "run" || step.kind === "model" || ["user_message", "assistant_message", "system_instruction", "human_approval", "agent_handoff", "decision"].includes(step.type);
    if (this.only === "tools") return step.kind === "tool" || step.kind === "run";
    return true;
  }

  // Only chunks near the window hold cards; the others are as high as theirs were.
  #list() {
    this.items = this.view.steps.filter((step) => this.#visible(step));
    this.at = new Map(this.items.map((step, at) => [step.key, at]));
    const count = Math.ceil(this.items.length / CHUNK);
    while (this.chunks.length > count) {
      const gone = this.chunks.pop();
      this.observer.unobserve(gone.made);
      this.seen.delete(gone);
      gone.made.remove();
    }
    while (this.chunks.length < count) {
      const chunk = { made: el("div", { class: "chunk" }), at: this.chunks.length, drawn: "" };
      chunk.made.chunk = chunk;
      this.chunks.push(chunk);
      this.feed.append(chunk.made);
      this.observer.observe(chunk.made);
      if (chunk.at === 0) this.seen.add(chunk);
    }
    for (const chunk of this.chunks) {
      if (this.seen.has(chunk)) this.#draw(chunk);
      else if (!chunk.height) chunk.made.style.height = `${this.#stepsIn(chunk).length * HEIGHT}px`;
    }
  }

  #stepsIn(chunk) {
    return this.items.slice(chunk.at * CHUNK, (chunk.at + 1) * CHUNK);
  }

  #seen(entries) {
    for (const entry of entries) {
      const { chunk } = entry.target;
      if (!chunk) continue;
      if (entry.isIntersecting) {
        this.seen.add(chunk);
        this.#draw(chunk);
      } else if (this.seen.delete(chunk)) {
        chunk.height = entry.target.offsetHeight;
        chunk.made.style.height = `${chunk.height}px`;
        for (const step of this.#stepsIn(chunk)) if (!this.openKeys.has(step.key)) this.cards.delete(step.key);
        chunk.made.replaceChildren();
        chunk.drawn = "";
      }
    }
  }

  #draw(chunk) {
    const steps = this.#stepsIn(chunk);
    const drawn = steps.map((step) => `${step.key}:${step.version}`).join();
    if (chunk.drawn === drawn) return;
    chunk.drawn = drawn;
    const wanted = steps.map((step) => this.#card(step));
    const focused = document.activeElement;
    chunk.made.replaceChildren(...wanted);
    if (focused && focused !== document.activeElement && chunk.made.contains(focused)) focused.focus({ preventScroll: true });
    chunk.made.style.height = "";
    this.fetchSoon();
  }

  #card(step) {
    let one = this.cards.get(step.key);
    if (!one || one.version !== step.version) {
      one = card(step, this.home);
      this.cards.set(step.key, one);
      one.made.setAttribute("aria-posinset", (this.at.get(step.key) ?? 0) + 1);
      one.made.setAttribute("aria-setsize", this.items.length);
      if (this.selected === step.key) one.made.classList.add("selected");
      if (this.openKeys.has(step.key)) this.#expand(step, one);
    }
    fill(one, step, this.known, this.home);
    return one.made;
  }

  async #fetch() {
    const missing = [];
    for (const chunk of this.seen) {
      for (const step of this.#stepsIn(chunk)) {
        for (const key of step.keys) if (IS_POSITION.test(key) && !this.known.has(key) && !this.asked.has(key)) missing.push(key);
      }
    }
    for (let from = 0; from < missing.length; from += 100) {
      const keys = missing.slice(from, from + 100);
      keys.forEach((key) => this.asked.add(key));
      try {
        const found = await source.contents(keys);
        for (const [key, content] of Object.entries(found)) this.known.set(key, content);
      } catch (error) {
        keys.forEach((key) => this.asked.delete(key));
        say(error.message);
        return;
      }
      for (const chunk of this.seen) {
        for (const step of this.#stepsIn(chunk)) {
          const one = this.cards.get(step.key);
          if (one) fill(one, step, this.known, this.home);
        }
      }
      document.documentElement.dataset.filled = this.known.size;
    }
    if (this.known.size > MOST_KNOWN) this.#forget();
    if (this.pinned) window.scrollTo(0, document.documentElement.scrollHeight);
  }

  #forget() {
    const near = new Set([...this.seen].flatMap((chunk) => this.#stepsIn(chunk).flatMap((step) => step.keys)));
    for (const key of [...this.known.keys()]) {
      if (!near.has(key)) {
        this.known.delete(key);
        this.asked.delete(key);
      }
    }
  }

  select(key, { focus = false, quiet = false } = {}) {
    if (this.selected) this.cards.get(this.selected)?.made.classList.remove("selected");
    this.selected = key;
    const one = this.cards.get(key);
    one?.made.classList.add("selected");
    if (focus) one?.toggle.focus({ preventScroll: true });
    if (!quiet) this.#mark();
  }

  // Brings a step into the window, drawn and selected.
  reveal(key, open = false) {
    let at = this.at.get(key);
    if (at === undefined && this.view.steps.some((step) => step.key === key)) {
      this.only = "all";
      this.foldedRuns.clear();
      this.#header();
      this.#list();
      at = this.at.get(key);
    }
    if (at === undefined) return;
    const chunk = this.chunks[Math.floor(at / CHUNK)];
    this.seen.add(chunk);
    this.#draw(chunk);
    this.select(key, { focus: true });
    if (open && !this.openKeys.has(key)) this.toggle(key);
    this.cards.get(key).made.scrollIntoView({ block: "center" });
  }

  toggle(key) {
    const step = this.items[this.at.get(key)];
    const one = this.cards.get(key);
    if (!step || !one) return;
    if (this.openKeys.delete(key)) {
      one.more.hidden = true;
      one.body.hidden = false;
      one.toggle.setAttribute("aria-expanded", "false");
      one.made.classList.remove("open");
      return;
    }
    this.openKeys.add(key);
    this.#expand(step, one);
  }

  async #expand(step, one) {
    one.toggle.setAttribute("aria-expanded", "true");
    one.made.classList.add("open");
    one.more.hidden = false;
    one.body.hidden = true;
    one.more.replaceChildren(el("p", { class: "soft small", text: "Loading…" }));
    try {
      const keys = step.keys.filter((key) => IS_POSITION.test(key));
      const found = keys.length ? await source.contents(keys, true) : {};
      one.more.replaceChildren(...everything(step, keys.map((key) => found[key]).filter(Boolean), this.home));
    } catch (error) {
      one.more.replaceChildren(el("p", { class: "problem", text: error.message }));
    }
  }

  fold(key) {
    if (!this.foldedRuns.delete(key)) this.foldedRuns.add(key);
    this.cards.delete(key);
    for (const chunk of this.chunks) chunk.drawn = "";
    this.#list();
    this.cards.get(key)?.made.querySelector(".fold")?.focus();
  }

  #atBottom() {
    const { scrollHeight, clientHeight } = document.documentElement;
    return scrollHeight > clientHeight + 40 && window.scrollY + clientHeight > scrollHeight - 120;
  }

  #scroll() {
    this.pinned = Boolean(this.view?.total.open) && this.#atBottom();
    if (this.marking) return;
    this.marking = requestAnimationFrame(() => {
      this.marking = 0;
      this.#mark();
    });
  }

  // Shows on the timeline what stands in the window.
  #mark() {
    if (!this.view) return;
    const height = document.documentElement.clientHeight;
    let from;
    let to;
    for (const chunk of this.seen) {
      for (const step of this.#stepsIn(chunk)) {
        const box = this.cards.get(step.key)?.made.getBoundingClientRect();
        if (!box || box.bottom < 60 || box.top > height || step.kind === "run") continue;
        from = Math.min(from ?? Infinity, step.start);
        to = Math.max(to ?? 0, step.end ?? step.start);
      }
    }
    const all = this.chunks.length === 1 && document.documentElement.scrollHeight <= height + 60;
    this.timeline.mark(this.selected, all ? undefined : from, all ? undefined : to);
  }

  #lines() {
    this.timeline.show(this.view);
    this.heading.querySelectorAll("[data-since]").forEach((one) => { one.textContent = ago(Number(one.dataset.since)); });
  }

  // The keys that mean something here; returns whether it was one.
  key(event) {
    const at = this.at?.get(this.selected) ?? -1;
    const go = (to) => {
      if (to >= 0 && to < this.items.length) this.reveal(this.items[to].key);
    };
    const step = this.items[at];
    if (event.key === "j" || event.key === "ArrowDown") go(at + 1);
    else if (event.key === "k" || event.key === "ArrowUp") go(Math.max(0, at - 1));
    else if (event.key === "Home") go(0);
    else if (event.key === "End") go(this.items.length - 1);
    else if (event.key === "o" && step) this.toggle(step.key);
    else if (event.key === "e") go(this.items.findIndex((one, place) => place > at && (one.failed || one.status === "unknown")));
    else if ((event.key === "ArrowLeft" || event.key === "ArrowRight") && step?.kind === "run" && this.foldedRuns.has(step.key) === (event.key === "ArrowRight")) this.fold(step.key);
    else return false;
    if (this.selected && event.key === "e") say(`${labelOf(this.items[this.at.get(this.selected)])} ${titleOf(this.items[this.at.get(this.selected)])}`);
    return true;
  }
}

function legend() {
  const entry = (kind, text) => el("li", {}, el("span", { class: `swatch ${kind}`, "aria-hidden": "true" }), text);
  return el("ul", { class: "legend" }, entry("model", "model"), entry("tool", "tool"), entry("run", "run"), entry("user", "message"), entry("gate", "approval"), entry("bad", "failed"), entry("warn", "outcome unknown"));
}
