// How a run goes: the chart of its losses, its metrics and the last lines of its log, live.

import { followRun, head, id } from "./head.js";
import { plain } from "./shown.js";

const PAUSE_MS = 1000;
const LAST_LINES = 15;
const MOST_POINTS = 8000;
const COLORS = {
  light: "#3547b3 #b3541e #1d7044 #8a3ab9 #b3261e #0b7285 #7a5c00 #c2257f #5f3dc4 #5a5f66".split(" "),
  dark: "#a7b4ff #ffb27d #7fd1a4 #d7a5f5 #ff9d94 #66d9e8 #e6c95c #ff9ecb #b197fc #a3abb3".split(" "),
};
const dark = matchMedia("(prefers-color-scheme: dark)");

/** Values by step, one series a name. */
class Series {
  #byName = new Map();

  add(name, step, value) {
    if (typeof step !== "number" || typeof value !== "number") return;
    if (!this.#byName.has(name)) this.#byName.set(name, new Map());
    const values = this.#byName.get(name);
    values.set(step, value);
    if (values.size > MOST_POINTS) thin(values);
  }

  has(name) { return this.#byName.has(name); }

  get names() { return [...this.#byName.keys()]; }

  /** The columns that a chart takes: all steps in order, then each series' values, null where it has none. */
  columns() {
    const steps = [...new Set([...this.#byName.values()].flatMap((values) => [...values.keys()]))].sort((a, b) => a - b);
    return [steps, ...this.names.map((name) => steps.map((step) => this.#byName.get(name).get(step) ?? null))];
  }

  /** Where each series begins, and how far it has come. */
  inWords() {
    const said = ([step, value]) => `${value.toPrecision(4)} at step ${step}`;
    return this.names.map((name) => {
      const points = [...this.#byName.get(name)].sort((a, b) => a[0] - b[0]);
      return `${plain(name)} ${said(points[0])}, ${said(points.at(-1))}`;
    }).join("; ");
  }
}

/** Leave out every second value but the first: more than that no screen shows. */
function thin(values) {
  let isKept = false;
  for (const step of values.keys()) {
    isKept = !isKept;
    if (!isKept) values.delete(step);
  }
}

/** A chart that is made anew when it gets another series, or other colours. */
class Chart {
  #chart = null;
  #names = "";

  constructor(element) {
    this.element = element;
    new ResizeObserver(() => this.#chart?.setSize(this.#size())).observe(element);
    dark.addEventListener("change", () => { this.#names = ""; this.draw(this.series); });
  }

  #size() { return { width: Math.max(200, this.element.clientWidth), height: 260 }; }

  draw(series) {
    this.series = series;
    if (!series?.names.length) return;
    const names = series.names.join();
    if (names === this.#names) {
      this.#chart.setData(series.columns());
      return;
    }
    this.#chart?.destroy();
    this.#names = names;
    const style = getComputedStyle(document.documentElement);
    const [soft, line] = ["--soft", "--line"].map((name) => style.getPropertyValue(name).trim());
    const axis = { stroke: soft, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 }, font: "12px system-ui, sans-serif" };
    const colors = COLORS[dark.matches ? "dark" : "light"];
    this.#chart = new globalThis.uPlot({
      ...this.#size(),
      scales: { x: { time: false } },
      axes: [{ ...axis, size: 34 }, { ...axis, size: 58 }],
      series: [
        { label: "step" },
        ...series.names.map((name, index) => ({
          label: plain(name), stroke: colors[index % colors.length], width: 2, spanGaps: true,
          points: { show: series.columns()[0].length < 40, size: 6 },
        })),
      ],
    }, series.columns(), this.element);
  }

  /** Say in words what the chart shows, where there is one. */
  describe(text) {
    if (!this.#chart) return;
    this.element.setAttribute("role", "img");
    this.element.setAttribute("aria-label", text);
  }
}

const losses = new Series();
const during = new Series();
const lossElement = document.getElementById("loss");
const lossChart = lossElement && new Chart(lossElement);
const duringChart = lossElement && new Chart(document.getElementById("during"));
let offset = 0;
let busy = false;
let isDue = false;

/** What was measured before the first step. */
const start = new Map();

function take(event) {
  if (event.kind === "progress" && event.phase === "training") losses.add("loss", event.step, event.loss);
  if (event.kind !== "metrics") return;
  for (const [name, value] of Object.entries(event.values ?? {})) {
    if (event.stage === "before") start.set(name, value);
    if (event.stage !== "during") continue;
    const series = name.endsWith("loss") ? losses : during;
    if (!series.has(name) && start.has(name)) series.add(name, 0, start.get(name));
    series.add(name, event.step, value);
  }
}

async function readEvents() {
  for (;;) {
    const answer = await fetch(`/console/data/runs/${id}/events?after=${offset}`);
    if (!answer.ok) return;
    const found = await answer.json();
    found.events.forEach(take);
    if (found.offset === offset) break;
    offset = found.offset;
  }
  lossChart.draw(losses);
  duringChart.draw(during);
  const said = losses.inWords();
  document.getElementById("loss-said").textContent = said || ("over" in head.dataset ? "No step was taken." : "No step was taken yet.");
  lossChart.describe(`Loss by step: ${said}`);
  duringChart.describe(`Metrics by step: ${during.inWords()}`);
}

async function readLog() {
  const answer = await fetch(`/console/data/runs/${id}/logs?tail=${LAST_LINES}`);
  if (!answer.ok) return;
  const text = await answer.text();
  if (text) document.getElementById("last").textContent = plain(text);
}

function number(value) {
  if (typeof value !== "number") return "";
  const size = Math.abs(value);
  return size >= 0.001 && size < 1e6 ? value.toFixed(4) : String(Number(value.toPrecision(4)));
}

async function readMetrics() {
  const answer = await fetch(`/console/data/runs/${id}/metrics`);
  if (!answer.ok) return;
  const { before = {}, after = {} } = await answer.json();
  const names = [...new Set([...Object.keys(before), ...Object.keys(after)])];
  const table = document.getElementById("metrics");
  table.hidden = !names.length;
  document.getElementById("no-metrics").hidden = names.length > 0;
  table.tBodies[0].replaceChildren(...names.map((name) => {
    const row = document.createElement("tr");
    const title = document.createElement("th");
    title.scope = "row";
    title.textContent = plain(name);
    const cell = (text) => {
      const made = document.createElement("td");
      made.className = "number";
      made.textContent = text;
      return made;
    };
    const gain = name in before && name in after ? after[name] - before[name] : null;
    const change = cell(gain === null ? "" : `${gain < 0 ? "" : "+"}${gain.toFixed(4)}`);
    change.classList.add("change");
    if (gain) change.dataset.sign = gain > 0 ? "+" : "-";
    row.append(title, cell(number(before[name])), cell(number(after[name])), change, bars(before[name], after[name]));
    return row;
  }));
}

/** The bars of a metric: see _metrics in views/run.py. */
function bars(before = 0, after = 0) {
  const most = Math.max(1, before, after);
  const cell = document.createElement("td");
  cell.className = "bars";
  cell.setAttribute("aria-hidden", "true");
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("width", "100%");
  svg.setAttribute("height", "14");
  [["old", 1, before], ["new", 8, after]].forEach(([kind, y, value]) => {
    const rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    for (const [name, one] of [["class", kind], ["y", y], ["height", 5], ["rx", 1.5], ["width", `${(100 * Math.max(0, value)) / most}%`]]) {
      rect.setAttribute(name, one);
    }
    svg.append(rect);
  });
  cell.append(svg);
  return cell;
}

async function bringUpToDate(withMetrics) {
  if (busy) { isDue = true; return; }
  busy = true;
  try {
    await Promise.all([lossElement ? readEvents() : null, readLog(), withMetrics ? readMetrics() : null]);
  } catch { /* the server is away: the next change tries again */ }
  setTimeout(() => {
    busy = false;
    if (isDue) { isDue = false; bringUpToDate(true); }
  }, PAUSE_MS);
}

followRun((change) => bringUpToDate(change.kind !== "progress"));
bringUpToDate(false);
