// The timeline: a lane for each agent, time from left to right, with long pauses drawn short.
import { clock, duration, el, statusWord } from "./dom.js";
import { labelOf, titleOf } from "./cards.js";

const LABEL = 22;
const BAR = 11;
const GAP = 3;
const RUN = 5;
const MOST_ROWS = 5;
const PAUSE_SHARE = 0.06;
const PAUSE_WIDTH = 14;
const EDGE = 8;

export class Timeline {
  constructor({ select }) {
    this.canvas = el("canvas", { class: "lanes", role: "img", "aria-label": "Timeline" });
    this.tip = el("div", { class: "tip", hidden: true });
    this.made = el("div", { class: "timeline" }, this.canvas, this.tip);
    this.bars = [];
    this.selected = null;
    this.canvas.addEventListener("pointermove", (event) => this.#hover(event));
    this.canvas.addEventListener("pointerleave", () => { this.tip.hidden = true; });
    this.canvas.addEventListener("click", (event) => {
      const bar = this.#at(event);
      if (bar) select(bar.step.key);
    });
    this.watch = new ResizeObserver(() => this.draw());
    this.watch.observe(this.made);
    this.dark = matchMedia("(prefers-color-scheme: dark)");
    this.dark.addEventListener("change", () => this.draw());
  }

  show({ steps, agents, total }) {
    this.steps = steps;
    this.total = total;
    this.agents = agents;
    const words = `${agents.length || 1} lanes, ${steps.length} steps, ${duration(total.end - total.begin)}`;
    this.canvas.setAttribute("aria-label", `Timeline: ${words}`);
    this.#lay();
    this.draw();
  }

  mark(step, from, to) {
    this.selected = step ?? null;
    this.from = from;
    this.to = to;
    this.draw();
  }

  #lay() {
    const now = this.total.open ? Math.max(this.total.end, Date.now() * 1000) : this.total.end;
    this.begin = Number.isFinite(this.total.begin) ? this.total.begin : 0;
    this.end = Math.max(now, this.begin + 1);
    const lanes = new Map();
    const laneOf = (name) => {
      if (!lanes.has(name)) lanes.set(name, { name, rows: [], bars: [] });
      return lanes.get(name);
    };
    for (const agent of this.agents) laneOf(agent);
    for (const step of this.steps) {
      const lane = laneOf(step.agent ?? step.parent?.agent ?? this.agents[0] ?? "");
      const end = step.end ?? (step.status === "running" ? this.end : step.until);
      const bar = { step, start: step.start, end, row: 0 };
      if (step.kind !== "run" && step.kind !== "event") {
        let row = lane.rows.findIndex((until) => until <= step.start);
        if (row < 0) row = lane.rows.length < MOST_ROWS ? lane.rows.push(0) - 1 : MOST_ROWS - 1;
        lane.rows[row] = Math.max(lane.rows[row], end);
        bar.row = row;
      }
      lane.bars.push(bar);
    }
    this.lanes = [...lanes.values()].filter((lane) => lane.bars.length);
    this.#scale();
  }

  // Pauses in which nothing was under way are as narrow as a gap.
  #scale() {
    const spans = this.steps.filter((step) => step.kind !== "run" || !step.children.length)
      .map((step) => [step.start, step.end ?? (step.status === "running" ? this.end : step.start)]).sort((a, b) => a[0] - b[0]);
    const pauses = [];
    let until = spans[0]?.[1] ?? this.begin;
    const least = (this.end - this.begin) * PAUSE_SHARE;
    for (const [start, end] of spans) {
      if (start - until > Math.max(least, 1)) pauses.push([until, start]);
      until = Math.max(until, end);
    }
    this.pauses = pauses;
    this.busy = Math.max(1, this.end - this.begin - pauses.reduce((sum, [a, b]) => sum + b - a, 0));
  }

  #x(time) {
    const room = Math.max(1, this.width - 2 * EDGE - this.pauses.length * PAUSE_WIDTH);
    let passed = time - this.begin;
    let extra = 0;
    for (const [from, to] of this.pauses) {
      if (time <= from) break;
      const inside = Math.min(time, to) - from;
      passed -= inside;
      extra += PAUSE_WIDTH * (inside / (to - from));
    }
    return EDGE + (Math.max(0, passed) / this.busy) * room + extra;
  }

  draw() {
    if (!this.lanes || !this.made.isConnected) return;
    const ratio = window.devicePixelRatio || 1;
    this.width = Math.max(200, this.made.clientWidth);
    let y = 4;
    for (const lane of this.lanes) {
      lane.top = y;
      lane.height = LABEL + RUN + 2 + Math.max(1, lane.rows.length) * (BAR + GAP) + 4;
      y += lane.height;
    }
    const height = y + 20;
    this.canvas.style.height = `${height}px`;
    this.canvas.width = Math.round(this.width * ratio);
    this.canvas.height = Math.round(height * ratio);
    const pen = this.canvas.getContext("2d");
    const style = getComputedStyle(this.made);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    pen.scale(ratio, ratio);
    pen.clearRect(0, 0, this.width, height);
    pen.font = `600 11.5px ${style.fontFamily}`;
    pen.textBaseline = "alphabetic";
    this.#band(pen, colour, height);
    this.bars = [];
    for (const [place, lane] of this.lanes.entries()) {
      if (place) {
        pen.fillStyle = colour("line");
        pen.fillRect(0, lane.top, this.width, 1);
      }
      pen.fillStyle = colour("text");
      pen.fillText(lane.name || "no agent", EDGE, lane.top + 16, this.width - 2 * EDGE);
      for (const bar of lane.bars) this.#bar(pen, colour, lane, bar);
    }
    this.#axis(pen, colour, height);
  }

  #band(pen, colour, height) {
    if (this.from !== undefined && this.to !== undefined) {
      const [a, b] = [this.#x(this.from), this.#x(this.to)];
      pen.fillStyle = colour("band");
      pen.fillRect(a - 3, 0, Math.max(6, b - a + 6), height - 18);
    }
    pen.fillStyle = colour("line");
    for (const [from, to] of this.pauses) {
      const [a, b] = [this.#x(from), this.#x(to)];
      for (let x = a + 2; x < b - 1; x += 4) pen.fillRect(x, 0, 1, height - 18);
    }
  }

  #bar(pen, colour, lane, bar) {
    const { step } = bar;
    const x = this.#x(bar.start);
    const to = this.#x(bar.end);
    const base = lane.top + LABEL;
    let box;
    if (step.kind === "run") {
      box = { x, y: base, w: Math.max(3, to - x), h: RUN };
    } else if (step.kind === "event") {
      box = { x: x - 2, y: base + RUN + 3, w: 4, h: Math.max(1, lane.rows.length) * (BAR + GAP) - GAP };
    } else {
      box = { x, y: base + RUN + 3 + bar.row * (BAR + GAP), w: Math.max(3, to - x), h: BAR };
    }
    const tone = step.status === "unknown" ? "warn" : step.failed ? "bad" : step.kind === "run" ? "run" : step.kind === "event" ? eventTone(step) : step.kind;
    pen.fillStyle = colour(tone);
    pen.globalAlpha = step.kind === "event" && tone === "event" ? 0.45 : step.kind === "run" ? 0.55 : 1;
    if (step.status === "unknown" || step.status === "running") {
      if (step.status === "unknown") box.w = Math.max(box.w, 16);
      box.x = Math.min(box.x, this.width - EDGE - box.w);
      pen.globalAlpha = 0.35;
      round(pen, box, 2.5);
      pen.globalAlpha = 1;
      pen.save();
      pen.beginPath();
      pen.rect(box.x, box.y, box.w, box.h);
      pen.clip();
      pen.strokeStyle = colour(tone);
      pen.lineWidth = 2;
      for (let stripe = box.x - box.h; stripe < box.x + box.w + box.h; stripe += 6) {
        pen.beginPath();
        pen.moveTo(stripe, box.y + box.h);
        pen.lineTo(stripe + box.h, box.y);
        pen.stroke();
      }
      pen.restore();
    } else {
      round(pen, box, step.kind === "event" ? 2 : 2.5);
    }
    pen.globalAlpha = 1;
    if (this.selected === step.key) {
      pen.strokeStyle = colour("text");
      pen.lineWidth = 1.5;
      pen.strokeRect(box.x - 1.5, box.y - 1.5, box.w + 3, box.h + 3);
    }
    this.bars.push({ ...box, step });
  }

  #axis(pen, colour, height) {
    pen.fillStyle = colour("soft");
    pen.font = pen.font.replace("600", "400");
    pen.textAlign = "left";
    pen.fillText(clock(this.begin), EDGE, height - 4);
    pen.textAlign = "right";
    pen.fillText(clock(this.end), this.width - EDGE, height - 4);
    pen.textAlign = "center";
    pen.fillText(duration(this.end - this.begin), this.width / 2, height - 4);
    pen.textAlign = "left";
  }

  #at(event) {
    const { left, top } = this.canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - left, event.clientY - top];
    for (let place = this.bars.length - 1; place >= 0; place -= 1) {
      const bar = this.bars[place];
      if (x >= bar.x - 2 && x <= bar.x + bar.w + 2 && y >= bar.y - 2 && y <= bar.y + bar.h + 2) return bar;
    }
    return null;
  }

  #hover(event) {
    const bar = this.#at(event);
    this.canvas.style.cursor = bar ? "pointer" : "default";
    this.tip.hidden = !bar;
    if (!bar) return;
    const { step } = bar;
    this.tip.textContent = [labelOf(step), titleOf(step), statusWord(step.status), step.took === null ? "" : duration(step.took)].filter(Boolean).join(" · ");
    const { left } = this.canvas.getBoundingClientRect();
    this.tip.style.left = `${Math.min(event.clientX - left + 10, this.width - 180)}px`;
    this.tip.style.top = `${bar.y + bar.h + 8}px`;
  }

  leave() {
    this.watch.disconnect();
  }
}

function eventTone(step) {
  if (step.type === "user_message" || step.type === "assistant_message") return "user";
  if (step.type === "human_approval" || step.type === "policy_check") return "gate";
  return "event";
}

function round(pen, { x, y, w, h }, radius) {
  pen.beginPath();
  pen.roundRect(x, y, w, h, Math.min(radius, w / 2, h / 2));
  pen.fill();
}
