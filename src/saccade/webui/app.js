// The page: <saccade-chat>, which any page may hold.
//
//   <saccade-chat api="" task="ocr" name="one" plain></saccade-chat>
//
// `api`: where the server is, without it this host. `task`: the task that a new chat begins with. `plain`: without the
// list of chats, for hosts that have navigation of their own. `name`: keeps its draft apart from others on the page.
import { html, render, useEffect, useLayoutEffect, useRef, useState } from "./html.js";
import { useEvents } from "./html.js";
import { Api } from "./api.js";
import { Composer, use } from "./composer.js";
import { KeyField, Settings, Shortcuts } from "./dialogs.js";
import { bytes, has, setLanguage, t } from "./i18n.js";
import { Icon, IconButton } from "./icons.js";
import { Message } from "./message.js";
import { Session } from "./session.js";
import { Sidebar } from "./sidebar.js";
import { Status } from "./status.js";
import { TASKS, taskOf } from "./tasks.js";
import { path } from "./tree.js";

const NARROW = 800;

function App({ session, host }) {
  useEvents(session, "change");
  const { settings, server } = session;
  const language = setLanguage(settings.lang);
  const plain = host.hasAttribute("plain");
  const [shows, showChats] = useState(() => !plain && host.clientWidth > NARROW);
  const [dialog, open] = useState(null);
  const [dropping, setDropping] = useState(false);
  const area = useRef(null);
  const search = useRef(null);
  useEffect(() => {
    host.lang = language;
    if (settings.theme === "auto") delete host.dataset.theme;
    else host.dataset.theme = settings.theme;
    if (host.parentElement === document.body) {
      document.documentElement.lang = language;
      document.documentElement.dataset.theme = settings.theme;
    }
  }, [language, settings.theme]);
  useKeys({ session, host, area, search, open, showChats, dialog });
  const drop = dropHandlers(session, setDropping);
  const narrow = host.clientWidth <= NARROW;
  return html`
    <div class="app" ...${drop}>
      <a class="skip" href="#ask" onClick=${(event) => { event.preventDefault(); area.current?.focus(); }}>${t("skip")}</a>
      ${shows && html`<${Sidebar} session=${session} search=${search} close=${() => narrow && showChats(false)} />`}
      ${shows && html`<button type="button" class="veil" aria-label=${t("history_hide")} onClick=${() => showChats(false)}></button>`}
      <main>
        <header class="top">
          ${!plain && html`<${IconButton} icon="menu" name=${t(shows ? "history_hide" : "history_show")} aria-expanded=${shows} onClick=${() => showChats(!shows)} />`}
          <${Status} session=${session} />
          <span class="spring"></span>
          <${IconButton} icon="plus" name=${t("new_chat")} onClick=${() => { session.startChat(host.getAttribute("task")); area.current?.focus(); }} />
          <${IconButton} icon="keyboard" name=${t("shortcuts")} class="icon-button wide-only" onClick=${() => open("shortcuts")} />
          <${IconButton} icon="settings" name=${t("settings")} onClick=${() => open("settings")} />
        </header>
        <${Away} server=${server} />
        <${Conversation} session=${session} area=${area} />
        <div class="bottom">
          <${Notices} session=${session} />
          ${server.status === "locked"
            ? html`<section class="card locked"><strong>${t("key_needed")}</strong><${KeyField} session=${session} /></section>`
            : html`<${Composer} session=${session} area=${area} />`}
        </div>
      </main>
      ${dropping && html`<div class="dropping">${t("drop")}</div>`}
      ${dialog === "settings" && html`<${Settings} session=${session} close=${() => open(null)} />`}
      ${dialog === "shortcuts" && html`<${Shortcuts} close=${() => open(null)} />`}
      <${Speaker} session=${session} />
    </div>`;
}

function Away({ server }) {
  const key = server.status === "unreachable" ? "away" : `away_${server.status}`;
  return has(key) ? html`<p class="away" role="status">${t(key)}</p>` : null;
}

function Notices({ session }) {
  return session.notices.map((notice) => {
    const { size, most } = notice.values;
    const values = { ...notice.values, ...(size && { size: bytes(size), most: bytes(most) }) };
    return html`<p class="notice ${notice.level}" role=${notice.level === "error" ? "alert" : "status"} key=${notice.told}>
      <span>${t(notice.key, values)}</span><${IconButton} icon="close" name=${t("dismiss")} onClick=${() => session.dismiss(notice)} /></p>`;
  });
}

function Conversation({ session, area }) {
  const messages = path(session.chat);
  const place = useRef(null);
  const follow = useRef(true);
  const last = useRef(0);
  const scroll = () => { if (follow.current && place.current) place.current.scrollTop = place.current.scrollHeight; };
  useEvents(session.live, "paint");
  useLayoutEffect(() => { follow.current = true; }, [session.chat, messages.length]);
  useLayoutEffect(scroll);
  // Pictures that load later, and panels that open, move the end away.
  useEffect(() => {
    const observer = new ResizeObserver(scroll);
    observer.observe(place.current.firstElementChild);
    return () => observer.disconnect();
  }, []);
  const onScroll = () => {
    const { scrollTop, scrollHeight, clientHeight } = place.current;
    // What grows moves the end away as well; only a person moves upwards.
    if (scrollHeight - scrollTop - clientHeight < 80) follow.current = true;
    else if (scrollTop < last.current - 1) follow.current = false;
    last.current = scrollTop;
  };
  return html`
    <section class="conversation" ref=${place} onScroll=${onScroll} aria-label=${t("conversation")} tabindex="0">
      <div class="column">
        ${messages.length === 0 && html`<${Welcome} session=${session} area=${area} />`}
        ${messages.map((node) => html`<${Message} key=${node.id} session=${session} node=${node} />`)}
      </div>
    </section>`;
}

function Welcome({ session, area }) {
  const choose = (task) => {
    session.setTask(task.id);
    use(session, area, session.prompts(task)[0]);
  };
  const example = async () => {
    const response = await fetch(new URL("./receipt.png", import.meta.url));
    session.attach([new File([await response.blob()], "receipt.png", { type: "image/png" })]);
    use(session, area, session.prompts(taskOf("receipt"))[1]);
  };
  return html`
    <div class="welcome">
      <h1>${t("hello")}</h1>
      <p>${t("hello_text")}</p>
      <div class="tasks">
        ${TASKS.map((task) => html`<button type="button" onClick=${() => choose(task)} aria-pressed=${session.chat.task === task.id}>
          <${Icon} name=${task.icon} />${t(`task_${task.id}`)}</button>`)}
      </div>
      <button type="button" class="quiet" onClick=${example}>${t("example")}</button>
    </div>`;
}

/** Tells a screen reader whole sentences as they are complete, not single words. */
function Speaker({ session }) {
  const { live } = session;
  useEvents(live, "paint");
  const said = useRef({ node: null, at: 0, text: "" });
  const now = said.current;
  if (live && now.node !== live.node) Object.assign(now, { node: live.node, at: 0, text: t("answering") });
  if (now.node) {
    const rest = now.node.text.slice(now.at);
    const end = live ? /^[\s\S]*[.!?。！？\n](?=\s|$)/.exec(rest)?.[0].length || 0 : rest.length;
    if (end) Object.assign(now, { text: rest.slice(0, end), at: now.at + end });
    else if (!live && now.at) now.text = t("answered");
  }
  return html`<div class="hidden" aria-live="polite" aria-atomic="true">${now.text}</div>`;
}

function dropHandlers(session, setDropping) {
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  return {
    onDragOver: (event) => { if (hasFiles(event)) { event.preventDefault(); setDropping(true); } },
    onDragLeave: (event) => { if (!event.relatedTarget) setDropping(false); },
    onDrop: (event) => {
      setDropping(false);
      if (!hasFiles(event)) return;
      event.preventDefault();
      session.attach(event.dataTransfer.files);
    },
  };
}

function useKeys({ session, host, area, search, open, showChats, dialog }) {
  useLayoutEffect(() => { // with what is drawn: the next key may come before the next frame
    const onKey = (event) => {
      const typed = event.composedPath()[0];
      const writes = /^(TEXTAREA|INPUT|SELECT)$/.test(typed.tagName);
      const control = event.ctrlKey || event.metaKey;
      const act = (work) => { event.preventDefault(); work(); };
      if (dialog || !host.checkVisibility()) return;
      if (event.key === "Escape" && session.live) act(() => session.stop());
      else if (control && event.shiftKey && event.code === "KeyO") act(() => { session.startChat(host.getAttribute("task")); area.current?.focus(); });
      else if (control && event.key === "k") act(() => {
        showChats(true);
        queueMicrotask(() => search.current?.focus()); // drawn by then, and before the next key
      });
      else if (control && event.key === ",") act(() => open("settings"));
      else if (control && event.key === "ArrowUp") act(() => [...host.shadowRoot.querySelectorAll(".edit")].at(-1)?.click());
      else if (!writes && event.key === "/") act(() => area.current?.focus());
      else if (!writes && event.key === "?") act(() => open("shortcuts"));
    };
    const onPaste = (event) => {
      if (event.defaultPrevented || !host.checkVisibility() || !event.clipboardData?.files.length) return;
      event.preventDefault();
      session.attach(event.clipboardData.files);
    };
    document.addEventListener("keydown", onKey);
    document.addEventListener("paste", onPaste);
    return () => { document.removeEventListener("keydown", onKey); document.removeEventListener("paste", onPaste); };
  });
}

class SaccadeChat extends HTMLElement {
  async connectedCallback() {
    if (this.session) return;
    this.session = new Session(new Api(this.getAttribute("api") || ""), this.getAttribute("name") || "");
    const root = this.attachShadow({ mode: "open" });
    const look = document.createElement("link");
    look.rel = "stylesheet";
    look.href = new URL("./style.css", import.meta.url).href;
    const styled = new Promise((resolve) => { look.onload = resolve; look.onerror = resolve; });
    const place = document.createElement("div");
    place.className = "root";
    root.append(look, place);
    this.session.startChat(this.getAttribute("task"));
    const started = this.session.start();
    await styled;
    render(html`<${App} session=${this.session} host=${this} />`, place);
    await started;
    this.dataset.ready = "";
    performance.mark("saccade-ready");
  }
}

customElements.define("saccade-chat", SaccadeChat);
