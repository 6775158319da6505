// How large a picture becomes before the model sees it, as the server plans it. Pure.

/** [height, width] after the resize: multiples of `factor` whose area lies between the two. */
export function smartResize(height, width, { factor, min_pixels: least, max_pixels: most }) {
  let rows = Math.max(1, even(height / factor));
  let columns = Math.max(1, even(width / factor));
  if (rows * columns * factor ** 2 > most) {
    const shrink = Math.sqrt((height * width) / most);
    rows = Math.max(1, Math.floor(height / shrink / factor));
    columns = Math.max(1, Math.floor(width / shrink / factor));
  } else if (rows * columns * factor ** 2 < least) {
    const grow = Math.sqrt(least / (height * width));
    rows = Math.ceil((height * grow) / factor);
    columns = Math.ceil((width * grow) / factor);
  }
  return [rows * factor, columns * factor];
}

/** Half goes to the even neighbour, as in Python. */
function even(x) {
  const near = Math.round(x);
  return Math.abs(x % 1) === 0.5 && near % 2 ? near - 1 : near;
}

/** Tokens of a picture of this size. */
export function tokensOf(height, width, media) {
  const [rows, columns] = smartResize(height, width, media);
  return (rows / media.factor) * (columns / media.factor);
}

/** The limits of the server, with the pixel budgets of a person and a task below them; null for one that is not set. */
export function budgeted(media, ...budgets) {
  const set = budgets.filter(Boolean);
  if (!media || !set.length) return media;
  const most = Math.max(media.factor ** 2, Math.min(media.max_pixels, ...set));
  return { ...media, max_pixels: most, min_pixels: Math.min(media.min_pixels, most) };
}

/** [height, width] that a picture is sent in: its own within the budget, else what the model would see of it. */
export const sentSize = (height, width, media) =>
  (height * width <= media.max_pixels ? [height, width] : smartResize(height, width, media));
