// Sessions, runs and the events of a search.
import { ago, badge, duration, el, hueOf, micros, moment, money, number, once, place, put, say, short, when } from "./dom.js";
import { card, everything, fill } from "./cards.js";
import { Recorded } from "./model.js";
import { searchBox, searchProblem } from "./search.js";
import { source } from "./source.js";

const PAGE = 100;
const SORTS = { time: "Last", duration: "Took", events: "Events", errors: "Failed", tokens: "Tokens", cost: "Cost" };

export class SummaryList {
  constructor({ unit, query, sort, remember }) {
    Object.assign(this, { unit, query, sort: sort || "time", remember });
    this.rows = [];
    this.chosen = [];
    this.took = 0;
  }

  start(main) {
    const name = this.unit === "session" ? "Sessions" : "Runs";
    this.count = el("span", { class: "soft count" });
    this.body = el("tbody");
    this.head = el("tr");
    this.more = el("button", { type: "button", class: "button", text: "Show more", hidden: true, on: { click: () => this.load(this.rows.length) } });
    this.compare = el("a", { class: "button primary", href: "#/", hidden: true, text: "Compare the two" });
    this.empty = el("div", { class: "empty", hidden: true });
    main.replaceChildren(
      el("div", { class: "list-head" }, el("h1", {}, name), this.count, this.compare),
      searchBox(this.query, { hint: `Find ${name.toLowerCase()} by what was said or done in them`, change: (query) => this.#ask(query) }),
      el("div", { class: "table-box", tabindex: "-1" }, el("table", { class: "list" }, el("caption", { class: "hidden", text: name }), el("thead", {}, this.head), this.body)), this.empty, this.more);
    this.#titles();
    this.load();
    const again = once(300, () => this.load(0, true));
    this.leave = source.follow({}, (kind, data) => {
      if (kind === "changed") setTimeout(again, this.took * 3);
      if (kind === "problem") say(data.text || "The server does not answer. Is `wakelog view` still running?");
      if (kind === "first") say("");
    });
    this.ticking = setInterval(() => this.#ages(), 5000);
  }

  stop() {
    this.leave();
    clearInterval(this.ticking);
    this.loading?.abort();
  }

  #ask(query) {
    if (query === this.query) return;
    this.query = query;
    this.remember({ q: query, sort: this.sort });
    this.load();
  }

  #titles() {
    const sorted = (name, words = SORTS[name], kind = "num") => el("th", { class: kind, scope: "col", "aria-sort": this.sort === name ? "descending" : null },
      source.live ? el("button", { type: "button", class: "sort", on: { click: () => this.#sort(name) } }, words, el("span", { "aria-hidden": "true", text: this.sort === name ? " ↓" : "" })) : words);
    const plain = (words, kind = "") => el("th", { class: kind, scope: "col", text: words });
    put(this.head, 
      source.live ? el("th", { class: "pick", scope: "col" }, el("span", { class: "hidden", text: "Compare" })) : "",
      plain(this.unit === "session" ? "Session" : "Run"), this.unit === "run" ? plain("Outcome") : "", plain("Agents", "wide"), sorted("time", "Last event", ""), sorted("duration"), sorted("events", "Events", "num wide"), sorted("errors"),
      plain("Tools", "num wide"), sorted("tokens"), sorted("cost"));
  }

  #sort(name) {
    this.sort = name;
    this.remember({ q: this.query, sort: name });
    this.#titles();
    this.head.querySelector("[aria-sort] button")?.focus();
    this.load();
  }

  async load(offset = 0, quiet = false) {
    this.loading?.abort();
    const loading = (this.loading = new AbortController());
    const begin = performance.now();
    const limit = quiet ? Math.max(PAGE, this.rows.length) : PAGE;
    try {
      const found = await source.get(`${this.unit}s`, { q: this.query, sort: this.sort, offset, limit }, loading.signal);
      this.took = performance.now() - begin;
      this.rows = offset ? [...this.rows, ...found.rows] : found.rows;
      searchProblem("");
      this.#show(found.count);
    } catch (error) {
      if (error.name === "AbortError") return;
      if (error.status === 401) throw error;
      searchProblem(error.message);
    }
  }

  #show(count) {
    const focused = document.activeElement?.closest?.("tr")?.dataset.id;
    this.body.replaceChildren(...this.rows.map((one) => this.#row(one)));
    if (focused !== undefined) [...this.body.children].find((row) => row.dataset.id === focused)?.querySelector("a")?.focus({ preventScroll: true });
    this.count.textContent = count ? `${number(count)} ${this.unit}${count === 1 ? "" : "s"}` : "";
    this.more.hidden = this.rows.length >= count;
    this.body.parentElement.parentElement.hidden = !count;
    this.empty.hidden = Boolean(count);
    this.empty.replaceChildren(el("p", { class: "big", text: this.query ? `No ${this.unit} has that.` : `No ${this.unit} is recorded yet.` }),
      el("p", { class: "soft", text: this.query ? "A search looks into what was said, what tools were given and what they returned." : "It will be here as soon as a program records into this directory." }),
      el("p", {}, el("a", { href: `#/events${this.query ? `?q=${encodeURIComponent(this.query)}` : ""}`, text: "Look among single events" })));
    document.documentElement.dataset.count = count;
  }

  #row(one) {
    const named = one.id !== null;
    const link = named ? place(this.unit, one.id) : "#/runs";
    const tokens = one.input_tokens === null && one.output_tokens === null ? "–" : `${short(one.input_tokens ?? 0)} → ${short(one.output_tokens ?? 0)}`;
    const end = (micros(one.start) ?? 0) + (one.duration_ms ?? 0) * 1000;
    const cell = (text, kind = "num", more = {}) => el("td", { class: kind, ...more, text });
    const agents = one.agents.slice(0, 2).map((agent) => el("span", { class: `agent ${hueOf(agent)}`, text: agent }));
    if (one.agents.length > 2) agents.push(el("span", { class: "soft", title: one.agents.join(", "), text: `+${one.agents.length - 2}` }));
    const pick = el("input", { type: "checkbox", "aria-label": `Compare ${one.id ?? "this"}`, checked: this.chosen.includes(one.id), disabled: !named, on: { change: (event) => this.#pick(one.id, event.target.checked) } });
    return el("tr", { "data-id": one.id ?? "", class: one.errors ? "has-errors" : "", on: { click: (event) => { if (!event.target.closest("a, input, button") && !getSelection().toString()) location.hash = link; } } },
      source.live ? el("td", { class: "pick" }, pick) : "",
      el("th", { scope: "row" }, el("a", { href: link, text: named ? one.id : "(runs without a session)" }), this.unit === "session" ? badge(one.outcome) : null,
        this.unit === "session" ? el("span", { class: "soft runs", text: one.runs === 1 ? "" : `${number(one.runs)} runs` }) : one.session ? el("a", { class: "soft runs", href: place("session", one.session), text: one.session }) : null,
        one.asked ? el("span", { class: "asked", text: one.asked }) : null),
      this.unit === "run" ? el("td", {}, badge(one.outcome)) : "", el("td", { class: "agents wide" }, agents),
      el("td", { class: "when", title: moment(end), "data-since": end, text: ago(end) }), cell(duration((one.duration_ms ?? 0) * 1000)),
      cell(number(one.events), "num wide"), el("td", { class: "num" }, one.errors ? el("span", { class: "count-bad", text: number(one.errors) }) : "0"),
      cell(number(one.tool_calls), "num wide"), cell(tokens), cell(money(one.cost_usd)));
  }

  #ages() {
    this.body.querySelectorAll("[data-since]").forEach((one) => { one.textContent = ago(Number(one.dataset.since)); });
  }

  #pick(id, on) {
    this.chosen = this.chosen.filter((one) => one !== id);
    if (on) this.chosen = [...this.chosen, id].slice(-2);
    for (const row of this.body.children) {
      const box = row.querySelector("input");
      if (box) box.checked = this.chosen.includes(row.dataset.id) && row.dataset.id !== "";
    }
    this.compare.hidden = this.chosen.length !== 2;
    if (this.chosen.length === 2) this.compare.setAttribute("href", place("compare", this.unit, ...this.chosen));
  }

  key(event) {
    if (!["j", "k", "ArrowDown", "ArrowUp"].includes(event.key)) return false;
    const links = [...this.body.querySelectorAll("th a:first-of-type")];
    const at = links.indexOf(document.activeElement);
    links[Math.max(0, Math.min(links.length - 1, at + (event.key === "j" || event.key === "ArrowDown" ? 1 : -1)))]?.focus();
    return true;
  }
}

export class EventList {
  constructor({ query, remember, home }) {
    Object.assign(this, { query, remember, settings: home });
    this.limit = PAGE;
    this.known = new Map();
  }

  start(main) {
    this.count = el("span", { class: "soft count" });
    this.feed = el("div", { class: "feed found", role: "feed", "aria-label": "Events found" });
    this.more = el("button", { type: "button", class: "button", text: "Show more", hidden: true, on: { click: () => this.#more() } });
    this.empty = el("div", { class: "empty", hidden: true }, el("p", { class: "big", text: "No event has that." }), el("p", { class: "soft", text: "New ones are shown as they are recorded." }));
    main.replaceChildren(
      el("div", { class: "list-head" }, el("h1", { text: "Events" }), this.count),
      searchBox(this.query, { hint: "Find events: a text, or failed, type:tool_call, since:1h", change: (query) => this.#ask(query) }),
      el("h2", { class: "hidden", text: "Found" }), this.feed, this.empty, this.more);
    this.#watch();
  }

  stop() {
    this.leave?.();
  }

  #ask(query) {
    if (query === this.query) return;
    this.query = query;
    this.limit = PAGE;
    this.remember({ q: query });
    this.#watch();
  }

  #more() {
    this.limit = Math.min(500, this.limit + 200);
    this.#watch();
  }

  #watch() {
    this.leave?.();
    this.recorded = new Recorded();
    this.cards = new Map();
    this.leave = source.follow({ q: this.query, limit: this.limit }, (kind, data) => {
      if (kind === "problem") searchProblem(data.text);
      if (kind !== "first" && kind !== "rows") return;
      if (kind === "first") searchProblem("");
      if (kind === "first" || data.rows.length || data.living) {
        const fresh = this.recorded.take(data);
        if (kind === "first" || fresh.length) this.#show();
      }
    });
  }

  // The newest first, since that is what one looks for.
  #show() {
    const { steps } = this.recorded.build();
    const found = steps.filter((step) => !step.implied).sort((a, b) => b.start - a.start);
    const home = { traceUrl: this.settings.trace_url, select() {}, fold() {}, folded: () => false, open: (key) => this.#toggle(key), runLink: (run) => el("a", { href: place("run", run), text: run }) };
    const made = found.map((step) => {
      const flat = Object.assign(Object.create(Object.getPrototypeOf(step)), step, { depth: 0, children: [] });
      let one = this.cards.get(step.key);
      if (!one || one.version !== flat.version) {
        one = { ...card(flat, home), step: flat, home };
        const to = step.row.session ? place("session", step.row.session) : step.run ? place("run", step.run) : null;
        if (to) one.made.append(el("p", { class: "where" }, el("time", { text: when(step.start), title: moment(step.start) }), el("a", { href: `${to}?at=${step.key}`, text: step.row.session ? `in session ${step.row.session}` : `in run ${step.run}` })));
        this.cards.set(step.key, one);
      }
      return one;
    });
    this.feed.replaceChildren(...made.map((one) => one.made));
    this.empty.hidden = found.length > 0;
    this.more.hidden = !this.recorded.cut || this.limit >= 500;
    this.count.textContent = found.length ? `${this.recorded.cut ? "the newest " : ""}${number(found.length)}` : "";
    document.documentElement.dataset.count = found.length;
    this.#fetch(made);
  }

  async #fetch(made) {
    const keys = made.flatMap((one) => one.step.keys).filter((key) => !this.known.has(key));
    for (let from = 0; from < keys.length; from += 100) {
      try {
        const found = await source.contents(keys.slice(from, from + 100));
        for (const [key, content] of Object.entries(found)) this.known.set(key, content);
      } catch (error) {
        say(error.message);
        return;
      }
      for (const one of made) fill(one, one.step, this.known, one.home);
    }
    for (const one of made) fill(one, one.step, this.known, one.home);
    // One event that was looked for is what one wants to read.
    if (made.length === 1 && made[0].more.hidden) this.#toggle(made[0].step.key);
    document.documentElement.dataset.filled = this.known.size;
  }

  async #toggle(key) {
    const one = this.cards.get(key);
    if (!one) return;
    const open = one.more.hidden;
    one.more.hidden = !open;
    one.body.hidden = open;
    one.toggle.setAttribute("aria-expanded", String(open));
    one.made.classList.toggle("open", open);
    if (!open) return;
    const keys = one.step.keys;
    try {
      const found = await source.contents(keys, true);
      one.more.replaceChildren(...everything(one.step, keys.map((name) => found[name]).filter(Boolean), one.home));
    } catch (error) {
      one.more.replaceChildren(el("p", { class: "problem", text: error.message }));
    }
  }

  key(event) {
    if (!["j", "k", "ArrowDown", "ArrowUp"].includes(event.key)) return false;
    const heads = [...this.feed.querySelectorAll(".card-head")];
    const at = heads.indexOf(document.activeElement);
    heads[Math.max(0, Math.min(heads.length - 1, at + (event.key === "j" || event.key === "ArrowDown" ? 1 : -1)))]?.focus();
    return true;
  }
}

