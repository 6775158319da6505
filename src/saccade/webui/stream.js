// Server-sent events of a response, one after another; knows nothing of what they say.

/** Yields {id, data} of each event. `data` is the text; the connection may end between any two. */
export async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      rest += value;
      let end;
      while ((end = rest.search(/\r?\n\r?\n/)) >= 0) {
        const event = parse(rest.slice(0, end));
        rest = rest.slice(end).replace(/^\r?\n\r?\n/, "");
        if (event.data) yield event;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function parse(block) {
  const event = { id: null, data: "" };
  for (const line of block.split(/\r?\n/)) {
    if (line.startsWith("data:")) event.data += (event.data && "\n") + line.slice(5).trimStart();
    else if (line.startsWith("id:")) event.id = line.slice(3).trim();
  }
  return event;
}

/** Calls `paint` at most once for each frame of the screen, and less often when painting itself is slow. */
export class Painter {
  constructor(paint) {
    this.paint = paint;
    this.asked = false;
    this.notBefore = 0;
  }

  ask() {
    if (this.asked) return;
    this.asked = true;
    const wait = this.notBefore - performance.now();
    if (wait > 16) setTimeout(() => this.next(), wait);
    else this.next();
  }

  next() {
    // A page in the background gets no frames; a timer then does.
    if (document.hidden) setTimeout(() => this.now(), 250);
    else requestAnimationFrame(() => this.now());
  }

  now() {
    this.asked = false;
    const begun = performance.now();
    this.paint();
    const took = performance.now() - begun;
    this.notBefore = performance.now() + 4 * took; // A fifth of the time at most.
  }
}
