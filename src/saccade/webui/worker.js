// Pictures are read, measured and made smaller here, so that the page never stops for them.
import { sentSize } from "./plan.js";
import { sha256 } from "./sha256.js";

const SMALL = 1024 * 1024;
const QUALITIES = [0.92, 0.85, 0.75, 0.6];

self.onmessage = async ({ data: { id, file, media, original } }) => {
  try {
    self.postMessage({ id, done: await prepare(file, media, original) });
  } catch (error) {
    self.postMessage({ id, failed: error.reason || "broken" });
  }
};

/** The bytes to send, and what was done to them: `how` is "as is", "lossless" or "lossy". */
async function prepare(file, media, original) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    throw Object.assign(new Error("cannot be decoded"), { reason: "broken" });
  }
  const { width, height } = bitmap;
  const before = { width, height, bytes: file.size, type: file.type };
  const fits = !media || width * height <= media.max_pixels;
  const readable = ["image/png", "image/jpeg", "image/webp", "image/gif", "image/bmp"].includes(file.type);
  let blob = file;
  let size = [height, width];
  let how = "as is";
  // A picture within the budget goes as it is: the server's own resize is the one the model was made with.
  if (!original && media && !(fits && readable && file.size <= 2 * SMALL)) {
    size = sentSize(height, width, media);
    [blob, how] = await encode(bitmap, size, file);
    if (fits && readable && blob.size >= file.size) [blob, how] = [file, "as is"];
  }
  bitmap.close();
  return {
    digest: await sha256(await blob.arrayBuffer()), blob, how, before,
    width: size[1], height: size[0], bytes: blob.size, type: blob.type,
  };
}

/** Lossless where that is small enough, as it is for screens and drawings; else as good as fits. */
async function encode(bitmap, [height, width], file) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.fillStyle = "#fff"; // what shows through is white, as in the server
  context.fillRect(0, 0, width, height);
  context.drawImage(await halved(bitmap, height, width), 0, 0, width, height);
  const lossless = await canvas.convertToBlob({ type: "image/png" });
  if (lossless.size <= SMALL) return [lossless, "lossless"];
  for (const quality of QUALITIES) {
    const blob = await canvas.convertToBlob({ type: "image/webp", quality });
    const kind = blob.type === "image/webp" ? blob : await canvas.convertToBlob({ type: "image/jpeg", quality });
    if (kind.size <= SMALL || quality === QUALITIES.at(-1)) return [kind, "lossy"];
  }
  return [file, "as is"];
}

/** Halves until less than a factor of two is left: one large step would skip pixels and break thin strokes. */
async function halved(bitmap, height, width) {
  let now = bitmap;
  while (now.width >= 2 * width && now.height >= 2 * height) {
    const next = new OffscreenCanvas(Math.ceil(now.width / 2), Math.ceil(now.height / 2));
    const context = next.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(now, 0, 0, next.width, next.height);
    now = next;
  }
  return now;
}
