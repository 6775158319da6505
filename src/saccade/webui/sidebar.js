// The chats of this browser: search, export, import, delete.
import { html, useMemo, useRef, useState } from "./html.js";
import { fileName, saveText } from "./export.js";
import { dataUrl } from "./pictures.js";
import { t, when } from "./i18n.js";
import { Icon, IconButton } from "./icons.js";
import { path, textOf, titleOf } from "./tree.js";

const FORMAT = "saccade-chats";

export function Sidebar({ session, search, close }) {
  const [words, setWords] = useState("");
  const pick = useRef(null);
  const found = useMemo(() => {
    const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
    return session.chats.filter((chat) => {
      const text = wanted.length ? textOf(chat) : "";
      return wanted.every((word) => text.includes(word));
    });
  }, [words, session.chats, session.chat, session.chats.length]);
  return html`
    <nav class="sidebar" aria-label=${t("history")}>
      <header>
        <button type="button" class="primary new" onClick=${() => { session.startChat(); close(); }}><${Icon} name="plus" />${t("new_chat")}</button>
      </header>
      <label class="search"><${Icon} name="search" /><span class="hidden">${t("search")}</span>
        <input ref=${search} type="search" placeholder=${t("search")} value=${words} onInput=${(event) => setWords(event.target.value)} /></label>
      ${found.length === 0 && html`<p class="faint">${t(session.chats.length ? "search_none" : "chats_none")}</p>`}
      <ul class="chats">
        ${found.map((chat) => html`
          <li key=${chat.id}>
            <button type="button" class="chat" aria-current=${chat === session.chat ? "true" : undefined} onClick=${() => { session.open(chat); close(); }}>
              <span>${titleOf(chat) || t("untitled")}</span><time>${when(chat.updated)}</time></button>
            <${IconButton} icon="down" name=${t("export_chat")} onClick=${() => exportChats(session, [chat], titleOf(chat))} />
            <${IconButton} icon="trash" name=${t("delete_chat")}
              onClick=${() => confirm(t("delete_sure", { title: titleOf(chat) || t("untitled") })) && session.remove(chat)} />
          </li>`)}
      </ul>
      <footer class="tools">
        <button type="button" class="quiet" disabled=${!session.chats.length} onClick=${() => exportChats(session, session.chats, "saccade")}>
          <${Icon} name="down" />${t("export_all")}</button>
        <button type="button" class="quiet" onClick=${() => pick.current.click()}><${Icon} name="up" />${t("import_chats")}</button>
        <input ref=${pick} type="file" hidden accept=".json,application/json" aria-label=${t("import_chats")}
          onChange=${(event) => { importChats(session, event.target.files[0]); event.target.value = ""; }} />
      </footer>
    </nav>`;
}

/** One JSON file with the chats and their pictures. */
export async function exportChats(session, chats, name) {
  const media = {};
  for (const chat of chats) {
    for (const node of Object.values(chat.nodes)) {
      for (const { digest } of node.parts || []) {
        if (!digest || media[digest]) continue;
        const record = await session.record(digest);
        if (record) media[digest] = { ...record, blob: await dataUrl(record.blob), state: undefined };
      }
    }
  }
  saveText(fileName(name, "json"), JSON.stringify({ format: FORMAT, version: 1, chats, media }), "application/json");
}

/** Reads such a file whole before anything is changed; what is there already stays. */
export async function importChats(session, file) {
  let chats;
  let media;
  try {
    ({ chats, media } = checked(JSON.parse(await file.text())));
  } catch {
    session.notice("import_bad");
    return;
  }
  for (const record of Object.values(media)) {
    session.media.set(record.digest, record);
    await session.keepRecord(record);
  }
  let count = 0;
  for (const chat of chats) {
    if (session.chats.some((other) => other.id === chat.id)) continue;
    await session.save(chat);
    count += 1;
  }
  session.notice("import_done", { count }, "info");
}

function checked({ format, chats, media }) {
  if (format !== FORMAT || !Array.isArray(chats)) throw new Error("format");
  for (const chat of chats) {
    if (typeof chat.id !== "string" || typeof chat.nodes !== "object") throw new Error("chat");
    for (const node of path(chat)) if (!["user", "assistant"].includes(node.role) || typeof node.text !== "string") throw new Error("node");
    for (const node of Object.values(chat.nodes)) if (node.state && node.state !== "done") node.state = "stopped";
  }
  const records = Object.fromEntries(Object.entries(media || {}).map(([digest, record]) =>
    [digest, { ...record, digest, blob: blobOf(record.blob) }]));
  return { chats, media: records };
}

/** A data URL as a blob, decoded here: the page's policy forbids to fetch one. */
function blobOf(url) {
  const match = /^data:((?:image|video)\/[\w.+-]+);base64,(.*)$/s.exec(url);
  if (!match) throw new Error("media");
  return new Blob([Uint8Array.from(atob(match[2]), (sign) => sign.charCodeAt(0))], { type: match[1] });
}
