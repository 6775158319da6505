// A PDF file becomes pictures of its pages, which the server draws: no browser lets a page do that without a large library.
import { ApiError } from "./api.js";
import { FileError } from "./pictures.js";

const MOST = 20;

export const isPdf = (file) => file.type === "application/pdf" || /\.pdf$/i.test(file.name || "");

/** Calls `add` (a file of type PNG) for each page in its order, up to MOST. Raises FileError. */
export async function eachPage(session, file, add) {
  const { api, server } = session;
  const { name } = file;
  const media = server.model?.media;
  if (!file.size) throw new FileError("file_empty", { name });
  if (!media) throw new FileError("pdf_unsent", { name });
  if (!media.pdf || !media.max_store_bytes) throw new FileError("file_pdf", { name });
  if (file.size > media.max_file_bytes) throw new FileError("file_large", { name, size: file.size, most: media.max_file_bytes });
  try {
    const { id, pages } = await api.sendMedia(file);
    if (!pages) throw new FileError("file_broken", { name });
    if (pages > MOST) session.notice("pdf_long", { name, pages, most: MOST }, "info");
    for (let number = 1; number <= Math.min(pages, MOST); number++) {
      const blob = await api.page(id, number);
      await add(new File([blob], `${name.replace(/\.pdf$/i, "")}-${number}.png`, { type: "image/png" }));
    }
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    throw new FileError(error.status ? "pdf_refused" : "pdf_unsent", { name, message: error.message });
  }
}
