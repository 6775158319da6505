// A chat as a tree: every edit and every new try is a branch, and nothing that was said is lost. Pure.
import { newId } from "./html.js";

/** A chat without messages. `leaf` is the last message of the branch that is shown. */
export function newChat(task = null) {
  const now = Date.now();
  return { id: newId(), title: "", created: now, updated: now, nodes: {}, leaf: null, task };
}

/** Adds a message below `parent` (null: a first one) and shows its branch. */
export function add(chat, parent, message) {
  const node = { id: newId(), parent, at: Date.now(), ...message };
  chat.nodes[node.id] = node;
  chat.leaf = node.id;
  chat.updated = node.at;
  return node;
}

/** The messages from the first to `leaf`. */
export function path(chat, leaf = chat.leaf) {
  const found = [];
  for (let id = leaf; id; id = chat.nodes[id]?.parent) {
    if (chat.nodes[id]) found.unshift(chat.nodes[id]);
    if (found.length > 10000) break; // an import with a circle
  }
  return found;
}

/** The messages that stand at the same place, oldest first. */
export function siblings(chat, node) {
  return Object.values(chat.nodes)
    .filter((other) => other.parent === node.parent && other.role === node.role)
    .sort((a, b) => a.at - b.at);
}

/** Shows the branch of a sibling, down to its newest message. */
export function select(chat, node) {
  let last = node;
  for (;;) {
    const below = Object.values(chat.nodes).filter((other) => other.parent === last.id);
    if (!below.length) break;
    last = below.reduce((a, b) => (a.at > b.at ? a : b));
  }
  chat.leaf = last.id;
}

/** What the list of chats shows. */
export function titleOf(chat) {
  return chat.title || path(chat).find((node) => node.role === "user" && node.text)?.text.slice(0, 80) || "";
}

/** Everything in a chat that search looks at. */
export function textOf(chat) {
  return [chat.title, ...Object.values(chat.nodes).map((node) => node.text || "")].join("\n").toLowerCase();
}
