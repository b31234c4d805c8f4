// The list of runs, live: rows that are on the page change in place, what is new is announced.

import { fetchRuns, startTicking, update } from "./liverow.js";
import { follow } from "./stream.js";

const TOGETHER_MS = 300;
const COUNTS_MS = 3000;

const table = document.querySelector("table.runs");
const news = document.getElementById("news");
const rows = new Map([...document.querySelectorAll("tr[data-id]")].map((row) => [row.dataset.id, row]));
const due = new Set();
const created = new Set();
let timer = 0;
let countsTimer = 0;

function announce(text) {
  news.querySelector("a").textContent = text;
  news.hidden = false;
}

async function bringUpToDate() {
  timer = 0;
  const ids = [...due].slice(0, 100);
  due.clear();
  try {
    for (const run of await fetchRuns(ids)) update(rows.get(run.id), run);
  } catch { /* the stream finds out whether the server is away */ }
}

async function count() {
  countsTimer = 0;
  try {
    const answer = await fetch(`/console/data/counts?${table?.dataset.filters ?? location.search.slice(1)}`);
    if (!answer.ok) return;
    const { counts } = await answer.json();
    for (const element of document.querySelectorAll("[data-count]")) {
      const word = element.dataset.count;
      const number = word ? counts[word] : Object.values(counts).reduce((sum, one) => sum + one, 0);
      element.textContent = number.toLocaleString("en-US");
    }
  } catch { /* as above */ }
}

function onChange(event) {
  const change = JSON.parse(event.data);
  const row = rows.get(change.run_id);
  if (change.kind === "deleted" && row) {
    row.dataset.gone = "";
    const status = row.querySelector(".status");
    status.dataset.status = status.textContent = "DELETED";
    for (const bar of row.querySelectorAll("progress")) bar.hidden = true;
    row.querySelector("[data-part=duration]").removeAttribute("data-seconds");
    rows.delete(change.run_id);
  } else if (row) {
    due.add(change.run_id);
    timer ||= setTimeout(bringUpToDate, TOGETHER_MS);
  } else if (change.kind === "created") {
    created.add(change.run_id);
    // Whether a filter would let them through is the server's to say.
    if (table?.dataset.filters) announce("There are new runs: look again");
    else announce(created.size === 1 ? "1 new run: show it" : `${created.size} new runs: show them`);
  }
  if (change.kind !== "progress" && change.kind !== "metrics") countsTimer ||= setTimeout(count, COUNTS_MS);
}

const start = table?.dataset.cursor;
follow(
  (cursor) => (cursor ? `/console/data/events?since=${cursor}` : "/console/data/events?snapshot=0"),
  start ?? "",
  { change: onChange, live: () => {} },
  () => announce("This list is no longer up to date: show it anew"),
);
startTicking();
document.documentElement.dataset.live = "";
