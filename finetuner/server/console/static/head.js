// The head of a run's page, live.

import { fetchRuns, startTicking, update } from "./liverow.js";
import { follow } from "./stream.js";

const TOGETHER_MS = 300;

export const head = document.getElementById("head");
export const id = head.dataset.id;
const news = document.getElementById("news");
let timer = 0;

/** Say above the parts that there is more to see, with a link that shows it. */
export function announce(text) {
  news.querySelector("a").textContent = text;
  news.hidden = false;
}

/** Bring the head up to date; a run that has ended has more to show than a script could add. */
export async function refresh() {
  timer = 0;
  let runs;
  try {
    runs = await fetchRuns([id]);
  } catch { return; }
  if (!runs.length) return;
  update(head, runs[0]);
  if (runs[0].is_over && !("over" in head.dataset)) {
    head.dataset.over = "";
    head.querySelector("[data-part=cancel]")?.remove();
    announce("The run has ended: show what it came to");
  }
}

/**
 * Follow the changes of the run.
 *
 * @param {(change: object) => void} onChange called with each, once the head is being brought up to date
 */
export function followRun(onChange = () => {}) {
  const stop = follow(
    (cursor) => `/console/data/events?run=${id}&since=${cursor}`,
    head.dataset.cursor,
    {
      change: (event) => {
        const change = JSON.parse(event.data);
        if (change.kind === "deleted") {
          stop();
          announce("The run was deleted");
          return;
        }
        timer ||= setTimeout(refresh, TOGETHER_MS);
        onChange(change);
      },
    },
    () => announce("This page is no longer up to date: show it anew"),
  );
  startTicking();
}
