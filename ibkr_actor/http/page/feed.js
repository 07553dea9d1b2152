// Owns what comes from the server: two questions asked again and again, and two event streams. Draws nothing.

const ASK_EVERY_MS = 2000;
const ASK_AGAIN_MS = 1000;
const ASK_SOON_MS = 550;
const ANSWER_MS = 5000;
// A stream whose connection was refused (not only lost) is closed by the browser; we open it again.
const REOPEN_MS = 3000;
const QUOTES_HZ = 4;
export const QUOTES_MAX = 60;

// What a server could not do, with its canonical code; `code` is null where there was no answer at all.
export class Refused extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

async function ask(path) {
  let answer;
  try {
    answer = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(ANSWER_MS) });
  } catch (error) {
    throw new Refused(null, error.name === "TimeoutError" ? "no answer in 5 seconds" : "no connection");
  }
  let body;
  try {
    body = await answer.json();
  } catch {
    throw new Refused(answer.ok ? null : `http_${answer.status}`, `the answer (${answer.status}) is no JSON`);
  }
  if (!answer.ok) throw new Refused(body?.error?.code ?? `http_${answer.status}`, body?.error?.message ?? "");
  return body;
}

// Asks for ever. `answered(path name, body)` for each answer, `refused(error)` for each failure. Returns a function that
// asks soon: something has happened. Soon is after the half second for which the server keeps an answer.
export function poll(paths, answered, refused) {
  let timer = 0;
  let waits = false; // nothing is under way, and nothing is asked soon anyway
  const round = async () => {
    waits = false;
    let next = document.hidden ? 3 * ASK_EVERY_MS : ASK_EVERY_MS;
    try {
      const names = Object.keys(paths);
      const bodies = await Promise.all(names.map((name) => ask(paths[name])));
      names.forEach((name, place) => answered(name, bodies[place]));
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      refused(error);
      next = ASK_AGAIN_MS;
    } finally {
      timer = setTimeout(round, next);
      waits = true;
    }
  };
  round();
  return () => {
    if (!waits) return;
    waits = false;
    clearTimeout(timer);
    timer = setTimeout(round, ASK_SOON_MS);
  };
}

// An EventSource that is always wanted: opened again also where the browser gives up.
export class Events {
  #source = null;
  #path = "";
  #handlers;
  #timer = 0;

  // `handlers`: event name -> function of its data; `open` and `lost` are told of the connection.
  constructor(handlers) {
    this.#handlers = handlers;
  }

  get isOpen() {
    return this.#source?.readyState === EventSource.OPEN;
  }

  get isWanted() {
    return this.#path !== "";
  }

  // Follows `path` from now on; "" is nothing.
  follow(path) {
    if (path === this.#path) return;
    this.#path = path;
    this.#open();
  }

  #open() {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = null;
    if (!this.#path) return;
    const source = (this.#source = new EventSource(this.#path));
    source.onopen = () => this.#handlers.open?.();
    for (const [name, handle] of Object.entries(this.#handlers)) {
      if (name === "open" || name === "lost") continue;
      source.addEventListener(name, (event) => {
        if (source === this.#source && event.data) handle(JSON.parse(event.data));
      });
    }
    source.onerror = () => {
      if (source !== this.#source) return;
      this.#handlers.lost?.();
      if (source.readyState === EventSource.CLOSED) this.#timer = setTimeout(() => this.#open(), REOPEN_MS);
    };
  }
}

// The stream of quotes of these instruments. `hold=false`: who looks takes no line and keeps none.
export function quotesPath(instruments) {
  if (!instruments.length) return "";
  const symbols = instruments.slice(0, QUOTES_MAX).map(encodeURIComponent).join(",");
  return `api/v1/stream/quotes?symbols=${symbols}&hz=${QUOTES_HZ}&hold=false`;
}

export const SYSTEM_PATH = "api/v1/stream/system?last=50";
