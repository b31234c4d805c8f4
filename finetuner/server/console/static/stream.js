// One stream a tab: closed while nobody sees the page, opened again where it broke off.

const FIRST_PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 30000;

/**
 * Follow a stream of server-sent events.
 *
 * @param {(position: string) => string} address gives the URL to go on from a position
 * @param {string} position the last one that is known
 * @param {Object<string, (event: MessageEvent) => void>} handlers by the event's name
 * @param {() => void} onLost called when the server no longer knows the position
 * @returns {() => void} ends it
 */
export function follow(address, position, handlers, onLost = () => {}) {
  let source = null;
  let timer = 0;
  let pause = FIRST_PAUSE_MS;
  let isEnded = false;

  function open() {
    clearTimeout(timer);
    if (isEnded || source || document.hidden) return;
    source = new EventSource(address(position));
    source.onopen = () => { pause = FIRST_PAUSE_MS; };
    source.onerror = () => { close(); retry(); };
    for (const [name, handle] of Object.entries(handlers)) {
      source.addEventListener(name, (event) => {
        if (event.lastEventId) position = event.lastEventId;
        handle(event);
      });
    }
  }

  function close() {
    source?.close();
    source = null;
  }

  function retry() {
    if (isEnded || document.hidden) return;
    timer = setTimeout(tryAgain, pause);
    pause = Math.min(2 * pause, LONGEST_PAUSE_MS);
  }

  async function tryAgain() {
    // An event stream does not tell why it was refused; a look at the head of its answer does.
    const controller = new AbortController();
    try {
      const answer = await fetch(address(position), { signal: controller.signal });
      if ([401, 404, 410].includes(answer.status)) { end(); onLost(); }
    } catch { /* the server is away */ } finally { controller.abort(); }
    if (!isEnded) open();
  }

  function look() {
    if (document.hidden) { clearTimeout(timer); close(); } else open();
  }

  function end() {
    isEnded = true;
    clearTimeout(timer);
    close();
    document.removeEventListener("visibilitychange", look);
  }

  document.addEventListener("visibilitychange", look);
  addEventListener("pagehide", close);
  addEventListener("pageshow", open);
  open();
  return end;
}
