// The pipeline's health: the books, the backlog, dead letters.
import { ago, bytes, duration, el, micros, moment, number, outside, put, say } from "./dom.js";
import { source } from "./source.js";

const STATES = {
  idle: ["good", "all delivered"], delivering: ["good", "delivering"], kept: ["", "kept here"],
  waiting: ["warn", "next hop does not take them"], nobody: ["warn", "no process delivers"],
};
const CIRCUITS = { 0: ["good", "closed: it takes what it gets"], 1: ["warn", "half open: an attempt is due"], 2: ["bad", "open: it is left alone"] };
const PARTS = ["delivered", "pending", "dead_lettered", "evicted", "corrupt"];
const NAMES = { delivered: "delivered", pending: "pending", dead_lettered: "dead letters", evicted: "evicted", corrupt: "corrupt" };
const AGAIN = 2000;

export class Health {
  constructor({ home }) {
    this.settings = home;
  }

  start(main) {
    this.body = el("div", { class: "health" }, el("p", { class: "soft", text: "Loading…" }));
    put(main, el("div", { class: "list-head" }, el("h1", { text: "Pipeline health" }), ...this.settings.links.map(([name, address]) => outside(name, address))), this.body);
    this.#again();
  }

  stop() {
    this.stopped = true;
    clearTimeout(this.timer);
  }

  key() {
    return false;
  }

  async #again() {
    const begin = performance.now();
    try {
      const found = await source.get("health");
      if (this.stopped) return;
      say("");
      this.#show(found);
    } catch (error) {
      if (this.stopped) return;
      say(error.status ? error.message : "The server does not answer. Is `wakelog view` still running?");
    }
    this.timer = setTimeout(() => this.#again(), Math.max(AGAIN, (performance.now() - begin) * 5));
  }

  #show(found) {
    if (!found.total) {
      this.body.replaceChildren(el("p", { class: "soft", text: "A file by itself keeps no books: nobody delivers from it." }));
      return;
    }
    const drawn = JSON.stringify([found, this.results]);
    if (this.drawn === drawn) {
      this.#ages();
      return;
    }
    this.drawn = drawn;
    const active = document.activeElement?.dataset?.replay;
    const { total } = found;
    const pendingWord = found.kept_here ? "kept here" : "pending";
    const sum = PARTS.map((name) => `${number(total[name])} ${name === "pending" ? pendingWord : NAMES[name]}`).join(" + ");
    const tile = (label, value, kind = "", more = "") => el("div", { class: `tile ${kind}` }, el("dt", { text: label }), el("dd", {}, value), more ? el("dd", { class: "soft small", text: more }) : null);
    const share = found.quota_bytes ? found.bytes / found.quota_bytes : null;
    put(this.body,
      el("div", { class: `verdict ${found.balances ? "good" : "bad"}` }, el("strong", { text: found.balances ? "✓ The books balance" : "✗ The books do not balance" }),
        el("span", { class: "sum", text: `${number(total.accepted)} accepted = ${sum}` })),
      el("dl", { class: "tiles" }, tile("Accepted", number(total.accepted)), tile("Delivered", number(total.delivered)),
        tile(found.kept_here ? "Kept here" : "Pending", number(total.pending), total.pending && !found.kept_here ? "warn" : "", found.kept_here ? "no exporter is configured" : ""),
        tile("Dead letters", number(total.dead_lettered), total.dead_lettered ? "bad" : ""), tile("Evicted", number(total.evicted), total.evicted ? "bad" : ""), tile("Corrupt", number(total.corrupt), total.corrupt ? "bad" : ""),
        tile("On disk", bytes(found.bytes), share > 0.8 ? "warn" : "", share === null ? "no quota is set" : `${(share * 100).toFixed(share < 0.1 ? 1 : 0)} % of ${bytes(found.quota_bytes)}`)),
      this.#groups(found), this.#processes(found.processes), this.#letters(found), this.#spans(found));
    if (active) this.body.querySelector(`[data-replay="${CSS.escape(active)}"]`)?.focus();
    document.documentElement.dataset.pending = total.pending;
  }

  #groups(found) {
    const rows = found.groups.map((one) => {
      const [kind, words] = STATES[one.state] ?? ["", one.state];
      const name = one.service ?? (one.swept ? "deleted folders" : "nothing readable says whose");
      return el("tr", {}, el("th", { scope: "row" }, name, el("span", { class: "soft runs", text: one.pipeline ? `${one.pipeline}${one.signal === "spans" ? " · spans" : ""}` : "" })),
        el("td", {}, el("span", { class: `badge ${one.balances ? kind : "error"}`, text: one.balances ? words : "does not balance" })),
        el("td", { class: "num", text: number(one.accepted) }), el("td", { class: "wide" }, bar(one, found.kept_here)), el("td", { class: "num", text: number(one.pending) }),
        el("td", { "data-since": one.oldest_pending ?? "", title: moment(one.oldest_pending), text: one.oldest_pending && one.state !== "kept" ? ago(one.oldest_pending) : "–" }),
        el("td", { "data-since": one.last_delivery ?? "", title: moment(one.last_delivery), text: ago(one.last_delivery) }),
        el("td", { class: "num", text: `${number(one.live)} of ${number(one.writers)}` }), el("td", { class: "num wide", text: bytes(one.bytes) }));
    });
    const titles = [["Service, pipeline"], ["Delivery"], ["Accepted", "num"], ["Where they are", "wide"], [found.kept_here ? "Kept here" : "Pending", "num"], ["Oldest pending"], ["Last acknowledged"], ["Processes alive", "num"], ["On disk", "num wide"]];
    return el("section", {}, el("h2", { text: "By service and pipeline" }), el("div", { class: "table-box", tabindex: "0", role: "group", "aria-label": "By service and pipeline" },
      el("table", { class: "list plain" }, el("thead", {}, el("tr", {}, titles.map(([text, kind = ""]) => el("th", { class: kind, scope: "col", text })))), el("tbody", {}, rows))));
  }

  // What only the recording processes know, where a Prometheus has their metrics.
  #processes(known) {
    if (!known) return null;
    const title = el("h2", { text: "Recording processes, by their metrics" });
    if (!known.jobs.length) return el("section", {}, title, el("p", { class: "soft", text: known.problem || "The Prometheus has no figures of theirs." }));
    const time = (seconds) => el("td", { class: "num", text: seconds === null ? "–" : duration(seconds * 1e6) });
    const rows = known.jobs.map((one) => {
      const [kind, words] = CIRCUITS[one.circuit] ?? ["", "–"];
      return el("tr", {}, el("th", { scope: "row", text: one.job || "–" }), el("td", {}, el("span", { class: `badge ${kind}`, text: words })), time(one.sync_median), time(one.sync_slow));
    });
    return el("section", {}, title, el("div", { class: "table-box", tabindex: "0", role: "group", "aria-label": "Recording processes" }, el("table", { class: "list plain" },
      el("thead", {}, el("tr", {}, [["Job"], ["Circuit to the next hop"], ["Sync, median", "num"], ["Sync, 99th percentile", "num"]].map(([text, name = ""]) => el("th", { class: name, scope: "col", text })))), el("tbody", {}, rows))));
  }

  #letters(found) {
    const { dead_letters: letters } = found;
    const title = el("h2", { text: "Dead letters" });
    if (!letters.length) return el("section", {}, title, el("p", { class: "soft", text: "There are none: the next hop has refused no record for good." }));
    const note = found.can_replay ? null : el("p", { class: "soft" }, "To replay them from here, start ", el("code", { text: "wakelog view --endpoint URL" }), ".");
    const replay = (words, ids, key) => el("button", { type: "button", class: "button", "data-replay": key, disabled: !found.can_replay || this.replaying, text: words, on: { click: () => this.#replay(ids) } });
    const whose = (one) => `${one.service ?? ""}/${one.pipeline ?? ""}`;
    const owners = [...new Set(letters.map(whose))];
    const rows = letters.map((one) => el("tr", {}, el("th", { scope: "row" }, el("code", { text: one.event_name ?? "log" }), el("span", { class: "soft runs", text: one.service ?? "" })),
      el("td", { title: one.time, "data-since": micros(one.time), text: ago(micros(one.time)) }), el("td", { class: "reason", text: this.results?.[one.id] ?? `${one.reason || one.outcome}` }), el("td", { class: "num", text: bytes(one.size) }),
      el("td", { class: "num" }, replay("Replay", [one.id], one.id))));
    return el("section", {}, el("div", { class: "list-head" }, title, ...owners.map((owner) => {
      const ids = letters.filter((one) => whose(one) === owner).map((one) => one.id);
      return ids.length > 1 ? replay(`Replay all ${ids.length}${owners.length > 1 ? ` of ${owner}` : ""}`, ids, owner) : null;
    })), note, el("div", { class: "table-box", tabindex: "0", role: "group", "aria-label": "Dead letters" }, el("table", { class: "list plain" },
      el("thead", {}, el("tr", {}, [["Record"], ["Set aside"], ["Why"], ["Size", "num"], ["", "num"]].map(([text, kind = ""]) => el("th", { class: kind, scope: "col" }, text || el("span", { class: "hidden", text: "Replay" }))))), el("tbody", {}, rows))),
    found.more_dead_letters ? el("p", { class: "soft", text: `${number(found.more_dead_letters)} older ones: wakelog dead-letters list` }) : null);
  }

  async #replay(ids) {
    this.replaying = true;
    say(`Replaying ${ids.length}…`);
    try {
      const { replayed } = await source.post("replay", { ids });
      this.results = Object.fromEntries(replayed.filter((one) => !one.replayed).map((one) => [one.id, `not accepted: ${one.reason}`]));
      const done = replayed.filter((one) => one.replayed).length;
      say(done === ids.length ? `${done} delivered.` : `${done} of ${ids.length} delivered. ${Object.values(this.results)[0] ?? ""}`);
    } catch (error) {
      say(error.message);
    }
    this.replaying = false;
    clearTimeout(this.timer);
    this.drawn = "";
    const words = document.getElementById("said").textContent;
    await this.#again();
    say(words);
  }

  #spans(found) {
    if (!found.open_spans.length) return null;
    return el("section", {}, el("h2", { text: "Spans without an end" }), el("ul", { class: "choices" }, found.open_spans.map((one) => el("li", {}, el("code", { text: one.name }), el("span", { class: "soft", text: ` began ${ago(micros(one.started))}, ` }),
      el("span", { class: `badge ${one.live ? "running" : "unknown"}`, text: one.live ? "its process lives" : "its process is gone: outcome unknown" }),
      one.trace && this.settings.trace_url ? [" ", outside("trace", this.settings.trace_url.replace("{trace_id}", one.trace))] : null))));
  }

  #ages() {
    this.body.querySelectorAll("[data-since]").forEach((one) => {
      if (one.dataset.since && one.textContent !== "–") one.textContent = ago(Number(one.dataset.since));
    });
  }
}

function bar(one, here) {
  const made = el("div", { class: "parts", role: "img", "aria-label": PARTS.map((name) => `${number(one[name])} ${name === "pending" && here ? "kept here" : NAMES[name]}`).join(", ") });
  for (const name of PARTS) {
    if (!one[name] || !one.accepted) continue;
    const part = el("span", { class: `part ${name} ${here ? "here" : ""}` });
    part.style.width = `${Math.max(1.5, (one[name] / one.accepted) * 100)}%`;
    made.append(part);
  }
  return made;
}
