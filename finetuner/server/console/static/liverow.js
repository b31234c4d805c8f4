// Brings one run's row, or the head of its page, up to date with what /console/data/rows says of it.

import { duration } from "./shown.js";

/** Write a run's present state into the parts of an element. */
export function update(element, run) {
  const status = element.querySelector(".status");
  if (status.dataset.status !== run.status) {
    status.dataset.status = run.status;
    status.textContent = run.status;
  }
  const part = (name) => element.querySelector(`[data-part="${name}"]`);
  const bar = part("percent");
  if (bar) {
    bar.hidden = !run.is_running;
    if (run.percent === null) bar.removeAttribute("value");
    else bar.value = run.percent;
  }
  const text = part("text");
  if (text) {
    text.textContent = run.text;
    text.title = run.text;
  }
  for (const name of ["started", "finished"]) {
    const time = part(name);
    if (time) time.textContent = run[name] || "-";
  }
  const length = part("duration");
  if (length) {
    length.textContent = run.duration;
    if (run.is_running) length.dataset.seconds = run.seconds;
    else delete length.dataset.seconds;
    length.dataset.since = performance.now();
  }
}

/** Let the durations of running runs go on, once a second while the page is seen. */
export function tick() {
  for (const element of document.querySelectorAll("[data-seconds]")) {
    element.dataset.since ??= 0;
    const passed = (performance.now() - Number(element.dataset.since)) / 1000;
    element.textContent = duration(Number(element.dataset.seconds) + passed);
  }
}

export function startTicking() {
  setInterval(() => { if (!document.hidden) tick(); }, 1000);
}

/** Ask for the present state of some runs. */
export async function fetchRuns(ids) {
  const query = new URLSearchParams(ids.map((id) => ["id", id]));
  const answer = await fetch(`/console/data/rows?${query}`);
  if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
  return (await answer.json()).runs;
}
