// The view library, by the names that the other files use.
export {
  html, render, useState, useEffect, useLayoutEffect, useRef, useMemo, useCallback, useReducer,
} from "./vendor/preact-htm.js";
import { useEffect, useReducer } from "./vendor/preact-htm.js";

/** Draw the calling component again whenever `target` sends an event of this name. */
export function useEvents(target, name) {
  const [, again] = useReducer((n) => n + 1, 0);
  useEffect(() => {
    if (!target) return undefined;
    target.addEventListener(name, again);
    return () => target.removeEventListener(name, again);
  }, [target, name]);
}

/** A short id that needs no secure context. */
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(9));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
