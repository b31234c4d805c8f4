// The log, all of it: as many lines as fit the window are in the page, the others are fetched by their bytes when
// somebody scrolls to them.

import { announce, head, id, refresh } from "./head.js";
import { startTicking } from "./liverow.js";
import { plain } from "./shown.js";
import { follow } from "./stream.js";

const LINE_PX = 20;
const MOST_PX = 12_000_000; // browsers give no element more height than some 16 million pixels
const OVERSCAN = 20;
const CHUNKS = 48;
const MOST_SHOWN = 8192; // characters of one line
const CHUNK_BYTES = 64 * 1024;
const HEAD_MS = 3000;
const MOST_HITS = 100_000;

const base = `/console/data/runs/${id}`;
const byId = (name) => document.getElementById(name);
const [view, space, rows, found] = ["view", "space", "rows", "found"].map(byId);
const decoder = new TextDecoder();

/** Where about every 64 KiB a line begins; see LineIndex in loglines.py. */
const index = { offsets: [], lines: [], end: 0, count: 0 };
/** The lines of stretches of the log, by the place of their entry; the one used last stands last. */
const chunks = new Map();
const asked = new Set();
/** The last stretch, as it grows. */
let tail = [];
let hits = [];
const isHit = new Set();
let hitAt = -1;
let isFrame = false;

async function readIndex() {
  const answer = await fetch(`${base}/lines?known=${index.offsets.length}`);
  if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
  const more = await answer.json();
  index.offsets.push(...more.offsets);
  index.lines.push(...more.lines);
  index.end = more.end;
  index.count = more.count;
}

async function readBytes(start, end) {
  if (start >= end) return [];
  const answer = await fetch(`${base}/logs`, { headers: { Range: `bytes=${start}-${end - 1}` } });
  if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
  const lines = decoder.decode(await answer.arrayBuffer()).split("\n");
  lines.pop();
  return lines;
}

function placeOf(line) {
  let [low, high] = [0, index.lines.length];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (index.lines[middle] <= line) low = middle;
    else high = middle;
  }
  return low;
}

function lineText(line) {
  const place = placeOf(line);
  const lines = place === index.offsets.length - 1 ? tail : chunks.get(place);
  if (lines) {
    if (lines !== tail) { chunks.delete(place); chunks.set(place, lines); }
    return lines[line - index.lines[place]] ?? "";
  }
  fetchChunk(place);
  return null;
}

async function fetchChunk(place) {
  if (asked.has(place)) return;
  asked.add(place);
  try {
    chunks.set(place, await readBytes(index.offsets[place], index.offsets[place + 1]));
    while (chunks.size > CHUNKS) chunks.delete(chunks.keys().next().value);
    render();
  } catch { /* scrolling on asks again */ } finally { asked.delete(place); }
}

/** Pixels of the scrolled space: as many as the lines have, as far as a browser can. */
function spacePx() { return Math.min(index.count * LINE_PX, MOST_PX); }

/** Pixels of lines that a pixel of scrolling stands for: 1 but for very long logs. */
function ratio() {
  const shown = view.clientHeight;
  return spacePx() < MOST_PX ? 1 : (index.count * LINE_PX - shown) / (MOST_PX - shown);
}

function firstLine() { return Math.floor((view.scrollTop * ratio()) / LINE_PX + 0.001); }

function render() {
  if (isFrame) return;
  isFrame = true;
  requestAnimationFrame(() => { isFrame = false; paint(); });
}

function paint() {
  space.style.height = `${spacePx()}px`;
  const top = firstLine();
  const from = Math.max(0, top - OVERSCAN);
  const to = Math.min(index.count, top + Math.ceil(view.clientHeight / LINE_PX) + OVERSCAN);
  const made = [];
  for (let line = from; line < to; line++) {
    const row = document.createElement("div");
    row.className = "line";
    const number = document.createElement("span");
    number.className = "no";
    number.textContent = line + 1;
    const what = document.createElement("span");
    what.className = "what";
    const text = lineText(line);
    what.textContent = text === null ? "…" : shorten(text);
    if (text === null) row.dataset.pending = "";
    if (isHit.has(line)) row.dataset.hit = "";
    if (hits[hitAt] === line) row.dataset.at = "";
    row.append(number, what);
    made.push(row);
  }
  rows.replaceChildren(...made);
  // The first line stands where it would with nothing above it cut off; the lines before it are above the window.
  const cut = (view.scrollTop * ratio()) % LINE_PX;
  rows.style.transform = `translateY(${view.scrollTop - (top - from) * LINE_PX - cut}px)`;
  byId("empty").hidden = index.count > 0;
  byId("line-count").textContent = index.count.toLocaleString("en-US");
  byId("log-size").textContent = size(index.end);
}

function shorten(text) {
  const shown = plain(text.length > MOST_SHOWN ? text.slice(0, MOST_SHOWN) : text);
  return text.length > MOST_SHOWN ? `${shown} … ${text.length - MOST_SHOWN} more characters: download the log to see them` : shown;
}

function size(bytes) {
  const units = ["B", "KiB", "MiB", "GiB"];
  let place = 0;
  while (bytes >= 1024 && place < 3) { bytes /= 1024; place++; }
  return `${place ? bytes.toFixed(1) : bytes} ${units[place]}`;
}

function goTo(line, isCentred = true) {
  space.style.height = `${spacePx()}px`;
  const above = isCentred ? Math.floor(view.clientHeight / LINE_PX / 2) : 0;
  view.scrollTop = (Math.max(0, line - above) * LINE_PX) / ratio();
  render();
}

function goToEnd() {
  paint();
  view.scrollTop = view.scrollHeight;
  render();
}

const followBox = byId("follow");

function isAtEnd() { return view.scrollTop + view.clientHeight >= view.scrollHeight - 2 * LINE_PX; }

/** A line came: it belongs to the last stretch, which a full one ends. */
function append(text, offset) {
  tail.push(text);
  index.count++;
  index.end = offset;
  if (offset - index.offsets.at(-1) >= CHUNK_BYTES) {
    chunks.set(index.offsets.length - 1, tail);
    index.offsets.push(offset);
    index.lines.push(index.count);
    tail = [];
  }
  if (followBox.checked) grow();
  else render();
}

let isGrowing = false;
function grow() {
  if (isGrowing) return;
  isGrowing = true;
  requestAnimationFrame(() => { isGrowing = false; goToEnd(); });
}

function listen() {
  byId("follow-label").hidden = false;
  const stop = follow(
    (offset) => `${base}/logstream?events=1&after=${offset}`,
    String(index.end),
    {
      message: (event) => append(event.data, Number(event.lastEventId)),
      end: () => { stop(); clearInterval(timer); byId("follow-label").hidden = true; refresh(); },
    },
    () => announce("This log is no longer there: look again"),
  );
  const timer = setInterval(() => { if (!document.hidden) refresh(); }, HEAD_MS);
}

async function search(event) {
  event.preventDefault();
  const text = byId("q").value;
  hits = [];
  isHit.clear();
  hitAt = -1;
  byId("hits").hidden = true;
  found.textContent = text ? "Searching…" : "";
  history.replaceState(null, "", text ? `?q=${encodeURIComponent(text)}` : location.pathname);
  if (!text) { render(); return; }
  let at = 0;
  try {
    do {
      const answer = await fetch(`${base}/search?${new URLSearchParams({ q: text, at })}`);
      if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
      const more = await answer.json();
      if (byId("q").value !== text) return;
      hits.push(...more.lines);
      more.lines.forEach((line) => isHit.add(line));
      at = more.next;
      if (hitAt < 0 && hits.length) turnTo(0);
      else tellHits();
    } while (at !== null && hits.length < MOST_HITS);
  } catch (error) {
    found.textContent = `Not searched: ${error.message}`;
    return;
  }
  if (!hits.length) found.textContent = "No line has it";
  render();
}

function tellHits() {
  byId("hits").hidden = !hits.length;
  if (!hits.length) return;
  const most = hits.length >= MOST_HITS ? "more than " : "";
  found.textContent = `${(hitAt + 1).toLocaleString("en-US")} of ${most}${hits.length.toLocaleString("en-US")}`;
}

function turnTo(place) {
  hitAt = (place + hits.length) % hits.length;
  tellHits();
  followBox.checked = false;
  goTo(hits[hitAt]);
}

view.addEventListener("scroll", () => {
  if (followBox.checked && !isAtEnd() && !isGrowing) followBox.checked = false;
  render();
}, { passive: true });
view.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const page = Math.max(1, Math.floor(view.clientHeight / LINE_PX) - 1);
  const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page };
  if (event.key in steps) {
    followBox.checked = false;
    goTo(Math.min(index.count - 1, firstLine() + steps[event.key]), false);
  } else if (event.key === "End") goToEnd();
  else if (event.key === "Home") { followBox.checked = false; goTo(0, false); }
  else return;
  event.preventDefault();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !/^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement.tagName)) {
    event.preventDefault();
    byId("q").focus();
  }
});
byId("q").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && hits.length && byId("q").value === new URLSearchParams(location.search).get("q")) {
    event.preventDefault();
    turnTo(hitAt + (event.shiftKey ? -1 : 1));
  }
});
byId("hit-previous").addEventListener("click", () => turnTo(hitAt - 1));
byId("hit-next").addEventListener("click", () => turnTo(hitAt + 1));
followBox.addEventListener("change", () => { if (followBox.checked) goToEnd(); });
new ResizeObserver(render).observe(view);
document.querySelector("form.bar-top").addEventListener("submit", search);

await readIndex();
tail = await readBytes(index.offsets.at(-1), index.end);
byId("plain").hidden = true;
view.hidden = false;
startTicking();
const wanted = /^#L(\d+)$/.exec(location.hash);
if (byId("q").value) search(new Event("submit"));
else if (wanted) goTo(Number(wanted[1]) - 1);
else {
  // Who came for a certain line is not taken away from it by what comes later.
  followBox.checked = !("over" in head.dataset);
  goToEnd();
}
if (!("over" in head.dataset)) listen();
view.dataset.ready = "";
