// From rows to steps: which call an answer belongs to, what lies inside what, what is open, and who did it.

const OPENS = { run_start: "run", model_call: "model", tool_call: "tool" };
const CLOSES = { run_end: "run", model_response: "model", tool_result: "tool" };
const DEEPEST = 100;

class Step {
  constructor(kind, row) {
    this.kind = kind;
    this.type = row.type;
    this.key = row.key;
    this.row = row;
    this.close = null;
    this.name = row.name;
    this.agent = row.agent;
    this.run = row.run;
    this.start = row.time ?? 0;
    this.end = null;
    this.open = false;
    this.status = null;
    this.parent = null;
    this.children = [];
    this.depth = 0;
  }

  get keys() {
    return this.close ? [this.key, this.close.key] : [this.key];
  }

  get failed() {
    return this.status === "error" || this.row.failed || Boolean(this.close?.failed);
  }

  figure(name) {
    return this.close?.[name] ?? this.row[name] ?? null;
  }

  get took() {
    return this.end === null ? null : Math.max(0, this.end - this.start);
  }

  // What a card shows depends on: when this changes, it is drawn again.
  get version() {
    return `${this.status}|${this.close?.key ?? ""}|${this.children.length > 0}|${this.depth}`;
  }
}

// One literal, since ten thousand of these are made at once.
const COLUMNS = "segment,offset,time,type,name,agent,session,run,outcome,error,failed,severity,input_tokens,output_tokens,cache_read,reasoning,cost,duration,pair,open,id,parent";
const rowOf = (key, row) => ({
  key, segment: row[0], offset: row[1], time: row[2], type: row[3], name: row[4], agent: row[5], session: row[6], run: row[7], outcome: row[8],
  error: row[9], failed: row[10], severity: row[11], input_tokens: row[12], output_tokens: row[13], cache_read: row[14], reasoning: row[15],
  cost: row[16], duration: row[17], pair: row[18], open: row[19], id: row[20], parent: row[21],
});

export class Recorded {
  constructor() {
    this.rows = new Map();
    this.living = new Set();
    this.cut = false;
  }

  take({ columns, rows, living, cut }) {
    if (columns && String(columns) !== COLUMNS) throw new Error(`other columns: ${columns}`);
    if (cut !== undefined) this.cut = cut;
    this.living = new Set(living);
    const fresh = [];
    for (const row of rows) {
      const key = `${row[0]}-${row[1]}`;
      if (this.rows.has(key)) continue;
      const made = rowOf(key, row);
      this.rows.set(key, made);
      fresh.push(made);
    }
    return fresh;
  }

  // Returns the steps in the order of reading, and what they add up to.
  build() {
    const rows = [...this.rows.values()].sort((a, b) => (a.time ?? 0) - (b.time ?? 0) || a.segment - b.segment || a.offset - b.offset);
    const made = { byId: new Map(), byKey: new Map(), runs: new Map(), steps: [] };
    for (const row of rows) this.#place(row, made);
    for (const step of made.steps) this.#settle(step);
    return arrange(made);
  }

  #place(row, made) {
    const { byId, byKey, runs, steps } = made;
    const remember = (step) => {
      if (row.id && !byId.has(row.id)) byId.set(row.id, step);
      byKey.set(row.key, step);
    };
    if (row.type === "run_start" && row.run) {
      const known = runs.get(row.run);
      if (known) {
        if (!known.began) Object.assign(known, { began: row, row, key: row.key, agent: row.agent ?? known.agent });
        known.again = known.again ?? (known.began !== row ? row : null);
        known.close = null;
        known.last = row;
        known.start = Math.min(known.start, row.time ?? known.start);
        remember(known);
        return;
      }
      const step = new Step("run", row);
      Object.assign(step, { began: row, last: row });
      runs.set(row.run, step);
      steps.push(step);
      remember(step);
      return;
    }
    if (row.run && !runs.has(row.run)) {
      const implied = new Step("run", { ...row, type: "run_start", name: null, failed: false, outcome: null, parent: null, open: false,
        key: `run-${row.run}`, id: null, input_tokens: null, output_tokens: null, cost: null, error: null, severity: null });
      implied.implied = true;
      runs.set(row.run, implied);
      steps.push(implied);
    }
    const closes = CLOSES[row.type];
    if (closes === "run") {
      const run = runs.get(row.run);
      if (run) {
        run.close = row;
        byKey.set(row.key, run);
        return;
      }
    } else if (closes) {
      const named = row.pair ? byKey.get(`${row.pair[0]}-${row.pair[1]}`) : byId.get(row.parent);
      if (named && named.kind === closes && !named.close && OPENS[named.type]) {
        named.close = row;
        remember(named);
        return;
      }
    }
    const step = new Step(OPENS[row.type] ?? closes ?? "event", row);
    steps.push(step);
    remember(step);
  }

  #settle(step) {
    const begin = step.kind === "run" ? step.last : step.row;
    const { close } = step;
    if (close) {
      step.end = close.time;
      step.status = close.outcome ?? (close.failed ? "error" : null);
    } else if (OPENS[step.type] && begin?.open && !(step.kind === "model" && step.row.output_tokens !== null)) {
      step.open = true;
      step.status = this.living.has(begin.segment) ? "running" : "unknown";
    } else {
      const said = step.row.outcome;
      step.status = said && said !== "started" ? said : step.row.failed ? "error" : null;
      if (step.row.duration !== null && step.end === null && step.kind !== "run") step.end = step.start + step.row.duration;
    }
  }
}

function arrange({ byId, runs, steps }) {
  const roots = [];
  for (const step of steps) {
    let parent = step.row.parent ? byId.get(step.row.parent) : null;
    if (parent === step) parent = null;
    if (!parent && step.kind !== "run" && step.run) parent = runs.get(step.run);
    for (let above = parent, height = 0; above; above = above.parent, height += 1) {
      if (above === step || height > DEEPEST) {
        parent = null;
        break;
      }
    }
    step.parent = parent ?? null;
    (parent ? parent.children : roots).push(step);
  }
  const order = (a, b) => a.start - b.start;
  const flat = [];
  const waiting = roots.sort(order).reverse();
  while (waiting.length) {
    const step = waiting.pop();
    step.depth = step.parent ? step.parent.depth + 1 : 0;
    flat.push(step);
    if (step.children.length) waiting.push(...step.children.sort(order).reverse());
  }
  for (let place = flat.length - 1; place >= 0; place -= 1) {
    const step = flat[place];
    step.until = Math.max(step.until ?? 0, step.end ?? step.start);
    if (step.parent) step.parent.until = Math.max(step.parent.until ?? 0, step.until);
  }
  return { steps: flat, ...sums(flat) };
}

function sums(steps) {
  const total = { input: null, output: null, cacheRead: null, cost: null, errors: 0, models: 0, tools: 0, open: 0, unknown: 0, begin: Infinity, end: 0 };
  const add = (name, value) => {
    if (value !== null && value !== undefined) total[name] = (total[name] ?? 0) + value;
  };
  const agents = new Map();
  for (const step of steps) {
    total.begin = Math.min(total.begin, step.start || Infinity);
    total.end = Math.max(total.end, step.end ?? step.start);
    total.errors += step.failed ? 1 : 0;
    total.models += step.kind === "model" ? 1 : 0;
    total.tools += step.kind === "tool" ? 1 : 0;
    total.open += step.status === "running" ? 1 : 0;
    total.unknown += step.status === "unknown" ? 1 : 0;
    if (step.kind !== "run") {
      add("input", step.figure("input_tokens"));
      add("output", step.figure("output_tokens"));
      add("cacheRead", step.figure("cache_read"));
      add("cost", step.figure("cost"));
    }
    if (step.agent && !agents.has(step.agent)) agents.set(step.agent, agents.size);
  }
  return { total, agents: [...agents.keys()] };
}
