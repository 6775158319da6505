// A file becomes something that can be sent: a picture made small in the worker, or a video with a strip of frames.
import { sha256 } from "./sha256.js";

const VIDEO = /^video\//;
const VIDEO_NAME = /\.(mp4|m4v|mov|webm|mkv|avi)$/i;
const HEIC = /heic|heif/i;
const FRAMES = 8;
const HIGH = 90;

let worker = null;
let number = 0;
const waiting = new Map();

/** What is wrong with a file; `reason` names a sentence, `values` what stands in it. */
export class FileError extends Error {
  constructor(reason, values = {}) {
    super(reason);
    Object.assign(this, { reason, values });
  }
}

export const isVideo = (file) => VIDEO.test(file.type) || VIDEO_NAME.test(file.name || "");

/** Prepares a file. Returns the media record {digest, kind, name, blob, width, height, bytes, before, how, frames}.
 * Raises FileError. */
export async function prepare(file, { media, original = false }) {
  if (!file.size) throw new FileError("file_empty", { name: file.name });
  if (isVideo(file)) return video(file, media);
  if (file.type && !file.type.startsWith("image/")) throw new FileError("file_kind", { name: file.name });
  if (file.size > 500 * 2 ** 20 || (original && media && file.size > media.max_file_bytes)) {
    const most = original && media ? media.max_file_bytes : 500 * 2 ** 20;
    throw new FileError("file_large", { name: file.name, size: file.size, most });
  }
  try {
    const done = await work({ file, media, original });
    if (done.bytes > (media?.max_file_bytes ?? Infinity)) {
      throw new FileError("file_large", { name: file.name, size: done.bytes, most: media.max_file_bytes });
    }
    return { ...done, kind: "image", name: file.name || "" };
  } catch (error) {
    if (error instanceof FileError) throw error;
    const isHeic = HEIC.test(file.type) || HEIC.test(file.name || "");
    throw new FileError(isHeic ? "file_heic" : "file_broken", { name: file.name });
  }
}

function work(message) {
  if (!worker) {
    worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
    worker.onmessage = ({ data }) => {
      const { resolve, reject } = waiting.get(data.id);
      waiting.delete(data.id);
      if (data.failed) reject(new Error(data.failed));
      else resolve(data.done);
    };
    worker.onerror = () => {
      for (const { reject } of waiting.values()) reject(new Error("worker"));
      waiting.clear();
      worker = null;
    };
  }
  const id = ++number;
  return new Promise((resolve, reject) => {
    waiting.set(id, { resolve, reject });
    worker.postMessage({ ...message, id });
  });
}

async function video(file, media) {
  if (media && file.size > media.max_file_bytes) {
    throw new FileError("file_large", { name: file.name, size: file.size, most: media.max_file_bytes });
  }
  const digest = await sha256(await file.arrayBuffer());
  const blob = file.type ? file : new File([file], file.name, { type: "video/mp4" });
  const shown = await strip(blob);
  if (shown && !(shown.duration > 0 && shown.width)) throw new FileError("file_no_frames", { name: file.name });
  return {
    digest, blob, kind: "video", name: file.name || "", bytes: file.size, type: blob.type, how: "as is",
    width: shown?.width || 0, height: shown?.height || 0, duration: shown?.duration || 0, frames: shown?.frames || [],
  };
}

/** Small pictures of some moments, as data URLs; null where this browser cannot play the format. */
async function strip(blob) {
  const element = document.createElement("video");
  element.muted = true;
  element.preload = "auto";
  element.src = URL.createObjectURL(blob);
  try {
    await heard(element, "loadeddata");
    const { videoWidth: width, videoHeight: height } = element;
    const duration = Number.isFinite(element.duration) ? element.duration : 0;
    const frames = [];
    const canvas = document.createElement("canvas");
    canvas.height = HIGH;
    canvas.width = Math.max(1, Math.round((HIGH * width) / Math.max(1, height)));
    for (let i = 0; i < FRAMES && width; i++) {
      const at = (duration * i) / FRAMES;
      element.currentTime = at;
      await heard(element, "seeked");
      canvas.getContext("2d").drawImage(element, 0, 0, canvas.width, canvas.height);
      frames.push({ at, src: canvas.toDataURL("image/jpeg", 0.7) });
    }
    return { width, height, duration, frames };
  } catch {
    return null;
  } finally {
    URL.revokeObjectURL(element.src);
  }
}

function heard(element, name) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error("timeout")), 8000);
    element.addEventListener(name, () => { clearTimeout(timer); resolve(); }, { once: true });
    element.addEventListener("error", () => { clearTimeout(timer); reject(new Error("format")); }, { once: true });
  });
}

/** A blob as a data URL. */
export function dataUrl(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}

/** Addresses of blobs for <img>, made once for each digest. */
const addresses = new Map();
export function addressOf(item) {
  if (!item?.blob) return "";
  if (!addresses.has(item.digest)) addresses.set(item.digest, URL.createObjectURL(item.blob));
  return addresses.get(item.digest);
}
