// What the events add up to: tools, models, agents, errors, tokens, cost and how long calls took.
import { duration, el, money, number, put, short } from "./dom.js";
import { searchBox, searchProblem } from "./search.js";
import { source } from "./source.js";

export class Figures {
  constructor({ query, remember }) {
    Object.assign(this, { query, remember });
  }

  start(main) {
    this.body = el("div", { class: "figures-body" });
    main.replaceChildren(el("div", { class: "list-head" }, el("h1", { text: "Statistics" })),
      searchBox(this.query, { hint: "Of which events: since:7d, agent:, tool:, failed, a text", change: (query) => this.#ask(query) }), this.body);
    this.load();
  }

  stop() {
    this.loading?.abort();
  }

  key() {
    return false;
  }

  #ask(query) {
    if (query === this.query) return;
    this.query = query;
    this.remember({ q: query });
    this.load();
  }

  async load() {
    this.loading?.abort();
    this.loading = new AbortController();
    try {
      const found = await source.get("figures", { q: this.query }, this.loading.signal);
      searchProblem("");
      this.#show(found);
    } catch (error) {
      if (error.name === "AbortError") return;
      searchProblem(error.message);
    }
  }

  #show(found) {
    const tile = (label, value, kind = "") => el("div", { class: `tile ${kind}` }, el("dt", { text: label }), el("dd", { text: value }));
    const tiles = el("dl", { class: "tiles" }, tile("Events", number(found.events)), tile("Failed", number(found.errors), found.errors ? "bad" : ""), tile("Sessions", number(found.sessions)), tile("Runs", number(found.runs)),
      tile("Tokens", found.input_tokens === null ? "–" : `${short(found.input_tokens)} → ${short(found.output_tokens ?? 0)}`), tile("From a cache", short(found.cache_read_input_tokens)), tile("Cost", money(found.cost_usd)));
    const calls = (title, rows) => table(title, [title.slice(0, -1), "Calls", "Failed", "Tokens", "Cost", "p50", "p95", "Longest"], rows.map((one) => [
      one.name ?? "–", number(one.calls), number(one.errors), one.input_tokens === null ? "–" : `${short(one.input_tokens)} → ${short(one.output_tokens ?? 0)}`, money(one.cost_usd),
      ...["p50_ms", "p95_ms", "max_ms"].map((name) => (one.latency ? duration(one.latency[name] * 1000) : "–")),
    ]), rows.map((one) => one.latency?.p95_ms ?? 0));
    const slow = [...found.tools].sort((a, b) => (b.latency?.p95_ms ?? 0) - (a.latency?.p95_ms ?? 0));
    put(this.body, tiles, over(found), calls("Tools", slow), calls("Models", found.models),
      el("div", { class: "two" },
        table("Agents", ["Agent", "Events", "Failed", "Cost"], found.agents.map((one) => [one.name ?? "–", number(one.events), number(one.errors), money(one.cost_usd)])),
        table("Errors", ["Error", "Events"], found.error_names.map((one) => [one.name ?? "–", number(one.events)])),
        table("Events", ["Event", "Events", "Failed"], found.types.map((one) => [one.name ?? "–", number(one.events), number(one.errors)]))));
    document.documentElement.dataset.count = found.events;
  }
}

function over(found) {
  const most = Math.max(1, ...found.timeline.map((one) => one.events));
  if (found.timeline.length < 2) return null;
  const bars = found.timeline.map((one) => {
    const bar = el("span", { class: "spark-bar", title: `${number(one.events)} events, ${number(one.errors)} failed` }, el("span", { class: "spark-bad" }));
    bar.style.height = `${one.events ? Math.max(3, (one.events / most) * 100) : 0}%`;
    bar.firstChild.style.height = `${one.events ? (one.errors / one.events) * 100 : 0}%`;
    return bar;
  });
  return el("div", { class: "spark", role: "img", "aria-label": "Events over the time" }, bars);
}

function table(title, titles, rows, weights = null) {
  if (!rows.length) return null;
  const most = Math.max(1, ...(weights ?? [1]));
  return el("section", { class: "figure" }, el("h2", { text: title }), el("div", { class: "table-box", tabindex: "0", role: "group", "aria-label": title }, el("table", { class: "list plain" },
    el("thead", {}, el("tr", {}, titles.map((text, place) => el("th", { class: place ? "num" : "", scope: "col", text })))),
    el("tbody", {}, rows.map((cells, row) => el("tr", {}, cells.map((text, place) => {
      if (!place) return el("th", { scope: "row", text });
      const cell = el("td", { class: "num", text });
      if (weights && titles[place] === "p95") {
        cell.classList.add("weighed");
        cell.style.setProperty("--share", `${(weights[row] / most) * 100}%`);
      }
      return cell;
    })))))));
}
