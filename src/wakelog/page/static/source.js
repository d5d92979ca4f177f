// Where the page's data comes from: the server that the page is of, or the file that it is in.
import { micros } from "./dom.js";

const KEPT = "wakelog-token";

export class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

class Served {
  live = true;

  constructor() {
    const given = new URLSearchParams(location.hash.slice(1)).get("token");
    if (given) {
      this.token = given;
      history.replaceState(null, "", location.pathname);
    } else {
      this.token = localStorage.getItem(KEPT) ?? "";
    }
    localStorage.setItem(KEPT, this.token);
  }

  use(token) {
    this.token = token.trim();
    localStorage.setItem(KEPT, this.token);
  }

  async #ask(path, parameters, more = {}) {
    const query = new URLSearchParams(parameters).toString();
    const answer = await fetch(`/api/${path}${query ? `?${query}` : ""}`, {
      ...more,
      headers: { authorization: `Bearer ${this.token}`, ...more.headers },
      credentials: "omit",
    });
    if (answer.ok) return answer;
    let text = await answer.text();
    try {
      text = JSON.parse(text).error ?? text;
    } catch {
      // a plain text
    }
    throw new Refused(answer.status, text.trim());
  }

  async get(path, parameters = {}, signal = undefined) {
    return (await this.#ask(path, parameters, { signal })).json();
  }

  async post(path, data) {
    const more = { method: "POST", body: JSON.stringify(data), headers: { "content-type": "application/json" } };
    return (await this.#ask(path, {}, more)).json();
  }

  contents(keys, whole = false) {
    return this.get("contents", { at: keys.join(","), ...(whole ? { whole: "1" } : {}) });
  }

  // Follows what is recorded; calls `take` with the kind of each event and its data, and returns what ends it.
  follow(parameters, take) {
    const ending = new AbortController();
    const go = async () => {
      while (!ending.signal.aborted) {
        try {
          const answer = await this.#ask("follow", parameters, { signal: ending.signal });
          await readEvents(answer.body.getReader(), (kind, data) => ending.signal.aborted || take(kind, data));
        } catch (error) {
          if (ending.signal.aborted) return;
          take("problem", { text: error instanceof Refused ? error.message : "", status: error.status });
          if (error.status === 400 || error.status === 401) return;
        }
        await new Promise((go) => setTimeout(go, 1000));
      }
    };
    go();
    return () => ending.abort();
  }
}

// Server-sent events (WHATWG HTML, section 9.2) as this server writes them.
async function readEvents(reader, take) {
  const decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const text = decoder.decode(value, { stream: true });
    rest += text;
    if (!text.includes("\n\n")) continue;
    const frames = rest.split("\n\n");
    rest = frames.pop();
    for (const frame of frames) {
      const [kind, data] = frame.split("\n");
      take(kind.slice("event: ".length), JSON.parse(data.slice("data: ".length)));
    }
  }
}

// What the file has that the page is in.
class Embedded {
  live = false;

  constructor(text) {
    this.data = JSON.parse(text);
    const at = Object.fromEntries(this.data.columns.map((name, place) => [name, place]));
    this.at = at;
    this.rows = this.data.rows;
  }

  async get(path, parameters = {}) {
    if (path === "home") return { path: this.data.title, has_books: false, trace_url: null, links: [], offline: true };
    if (path === "session") return this.#table(this.#conversation(parameters));
    if (path === "events") return this.#table(this.#found(parameters.q ?? ""));
    if (path === "sessions" || path === "runs") return this.#summaries(path === "runs" ? "run" : "session", parameters);
    throw new Refused(404, "this file does not have it");
  }

  async contents(keys) {
    return Object.fromEntries(keys.map((key) => [key, this.data.contents[key]]).filter(([, found]) => found));
  }

  follow(parameters, take) {
    const path = parameters.q === undefined ? "session" : "events";
    if (parameters.q !== undefined || parameters.session !== undefined || parameters.run !== undefined) {
      this.get(path, parameters).then((found) => take("first", found));
    }
    return () => {};
  }

  #table(rows) {
    return { columns: this.data.columns, rows, living: this.data.living, cut: false };
  }

  #conversation({ session, run }) {
    const { at } = this;
    const runs = new Set(run === undefined ? [] : [run]);
    const ids = new Set();
    const taken = new Set();
    for (let before = -1; before !== taken.size; ) {
      before = taken.size;
      for (const row of this.rows) {
        const mine = (session !== undefined && row[at.session] === session) || runs.has(row[at.run]) ||
          (row[at.type] === "run_start" && ids.has(row[at.parent]));
        if (!mine || taken.has(row)) continue;
        taken.add(row);
        if (row[at.run]) runs.add(row[at.run]);
        if (row[at.id]) ids.add(row[at.id]);
      }
    }
    return this.rows.filter((row) => taken.has(row));
  }

  #found(query) {
    const { at } = this;
    const words = query.match(/(?:[a-z]+:)?(?:"[^"]*"|\S+)/g) ?? [];
    const column = { session: at.session, run: at.run, agent: at.agent, type: at.type, tool: at.name };
    const answers = { tool_call: "tool_result", model_call: "model_response" };
    let rows = this.rows;
    const text = [];
    for (const word of words) {
      const [key, ...rest] = word.split(":");
      const value = rest.join(":").replaceAll('"', "");
      if (word === "failed" || word === "errors") rows = rows.filter((row) => row[at.failed]);
      else if (column[key] !== undefined && value) {
        rows = rows.filter((row) => {
          const said = String(row[column[key]] ?? "");
          return key === "session" || key === "run" ? said.startsWith(value) : said === value || (key === "type" && said === answers[value]);
        });
      } else if (key !== "since" && key !== "until") text.push(word.replaceAll('"', ""));
    }
    const needle = text.join(" ").toLowerCase();
    if (!needle) return rows;
    return rows.filter((row) => {
      const content = this.data.contents[`${row[at.segment]}-${row[at.offset]}`];
      return content && JSON.stringify(content).toLowerCase().includes(needle);
    });
  }

  #summaries(unit, { q = "" }) {
    const { at } = this;
    const wanted = new Set(this.#found(q).map((row) => row[at[unit]]));
    const known = new Map();
    for (const row of this.rows) {
      const id = row[at[unit]];
      if (id === null || !wanted.has(id)) continue;
      let one = known.get(id);
      if (!one) {
        one = { id, session: row[at.session], events: 0, errors: 0, tool_calls: 0, model_calls: 0, input_tokens: null,
          output_tokens: null, cost_usd: null, agents: new Set(), all: new Set(), first: Infinity, last: 0, outcome: null, open: null };
        known.set(id, one);
      }
      one.events += 1;
      one.errors += row[at.failed] ? 1 : 0;
      one.tool_calls += row[at.type] === "tool_call" ? 1 : 0;
      one.model_calls += row[at.type] === "model_call" ? 1 : 0;
      if (row[at.agent]) one.agents.add(row[at.agent]);
      if (row[at.run]) one.all.add(row[at.run]);
      one.first = Math.min(one.first, row[at.time] ?? Infinity);
      one.last = Math.max(one.last, row[at.time] ?? 0);
      if (row[at.type] === "run_end") one.outcome = row[at.outcome];
      if (row[at.type] === "run_start" && row[at.open]) one.open = this.data.living.includes(row[at.segment]) ? "running" : "unknown";
      else if (row[at.type] !== "run_start" && row[at.type] !== "run_end") {
        for (const [name, place] of [["input_tokens", at.input_tokens], ["output_tokens", at.output_tokens], ["cost_usd", at.cost]]) {
          if (row[place] !== null) one[name] = (one[name] ?? 0) + row[place];
        }
      }
    }
    const rows = [...known.values()].sort((a, b) => b.last - a.last).map((one) => ({
      ...one, agents: [...one.agents], runs: one.all.size, outcome: one.outcome ?? one.open, live: false,
      start: new Date(one.first / 1000).toISOString(), duration_ms: (one.last - one.first) / 1000,
    }));
    return { rows, count: rows.length };
  }
}

const recorded = document.getElementById("recorded");
export const source = recorded ? new Embedded(recorded.textContent) : new Served();
export const startOf = (one) => micros(one.start);
