// Small drawings, as elements, so that nothing has to be loaded.
import { html } from "./html.js";

const PATHS = {
  plus: "M12 5v14M5 12h14",
  send: "M12 19V5M6 11l6-6 6 6",
  stop: "M7 7h10v10H7z",
  menu: "M4 7h16M4 12h16M4 17h16",
  settings: "M4 7h10M18 7h2M4 17h4M12 17h8M14 5v4M8 15v4",
  camera: "M4 8h4l2-2h4l2 2h4v11H4zM12 16.5a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7z",
  clip: "M20 11l-8.5 8.5a5 5 0 0 1-7-7L13 4a3.4 3.4 0 0 1 5 5l-8.5 8.5a1.7 1.7 0 0 1-2.5-2.5L15 7",
  link: "M10 14a4 4 0 0 0 5.6 0l3-3a4 4 0 0 0-5.6-5.6L12 6.400M14 10a4 4 0 0 0-5.600 0l-3 3A4 4 0 0 0 11 18.600l1-1",
  close: "M6 6l12 12M18 6L6 18",
  search: "M11 18a7 7 0 1 0 0-14 7 7 0 0 0 0 14zM16 16l4 4",
  trash: "M5 7h14M9 7V5h6v2M7 7l1 12h8l1-12",
  down: "M12 5v10M7 11l5 5 5-5M5 20h14",
  up: "M12 16V5M7 10l5-5 5 5M5 20h14",
  left: "M14 6l-6 6 6 6",
  right: "M10 6l6 6-6 6",
  copy: "M9 9h10v10H9zM5 15V5h10",
  edit: "M5 19l1-4L16 5l3 3L9 18z",
  again: "M19 12a7 7 0 1 1-2-5M19 4v4h-4",
  go: "M6 5l8 7-8 7zM18 5v14",
  eye: "M3 12q9-10 18 0q-9 10-18 0zM12 14.500a2.500 2.500 0 1 0 0-5 2.500 2.500 0 0 0 0 5z",
  text: "M5 6h14M12 6v13M9 19h6",
  receipt: "M6 3h12v18l-3-2-3 2-3-2-3 2zM9 8h6M9 12h6",
  page: "M7 3h7l4 4v14H7zM14 3v4h4M10 12h5M10 16h5",
  box: "M4 8V4h4M16 4h4v4M20 16v4h-4M8 20H4v-4M9 9h6v6H9z",
  pointer: "M6 4l12 8-6 1-3 6z",
  phone: "M8 3h8v18H8zM11 18h2",
  chart: "M5 20V4M5 20h15M9 17v-5M13 17V8M17 17v-7",
  code: "M9 7l-5 5 5 5M15 7l5 5-5 5",
  film: "M4 5h16v14H4zM8 5v14M16 5v14M4 12h4M16 12h4",
  keyboard: "M3 7h18v10H3zM7 10h.010M11 10h.010M15 10h.010M8 14h8",
};

export const Icon = ({ name }) => html`
  <svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false"><path d=${PATHS[name]} /></svg>`;

/** A button with a drawing; its name is for tooltips and screen readers. */
export const IconButton = ({ icon, name, children, ...more }) => html`
  <button type="button" class="icon-button" aria-label=${name} title=${name} ...${more}><${Icon} name=${icon} />${children}</button>`;
