// Moments of a video with their times, and the video itself when one is chosen.
import { html, useEffect, useRef, useState } from "./html.js";
import { t } from "./i18n.js";

const clock = (seconds) => `${Math.floor(seconds / 60)}:${(seconds % 60).toFixed(1).padStart(4, "0")}`;

/** `seek`: a ref that gets the function that goes to a moment. */
export function VideoStrip({ record, seek }) {
  const player = useRef(null);
  const [at, go] = useState(null);
  useEffect(() => {
    if (seek) seek.current = go;
  }, [seek]);
  useEffect(() => {
    if (at === null || !player.current) return;
    const element = player.current;
    const move = () => { element.currentTime = at; };
    if (element.readyState) move();
    else element.addEventListener("loadedmetadata", move, { once: true });
    element.scrollIntoView({ block: "nearest" });
  }, [at]);
  if (!record.frames?.length) return html`<p class="state">${record.name}: ${t("no_preview")}</p>`;
  if (seek && at === null) return null; // under an answer: only what was asked for
  const nearest = at !== null && record.frames.reduce((a, b) => (Math.abs(b.at - at) < Math.abs(a.at - at) ? b : a));
  return html`
    <div class="video">
      <div class="strip" role="group" aria-label=${t("frames")}>
        ${record.frames.map((frame) => html`
          <button type="button" aria-current=${frame === nearest ? "true" : undefined} aria-label=${t("seek", { time: clock(frame.at) })} onClick=${() => go(frame.at)}>
            <img src=${frame.src} alt="" /><span>${clock(frame.at)}</span></button>`)}
      </div>
      ${at !== null && html`<video ref=${player} src=${record.address} controls muted playsinline></video>`}
    </div>`;
}
