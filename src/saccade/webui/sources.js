// Other places where pictures come from: the camera, and addresses.
import { html, useEffect, useRef, useState } from "./html.js";
import { Dialog } from "./dialogs.js";
import { t } from "./i18n.js";

export function Camera({ session, close }) {
  const view = useRef(null);
  const [failed, fail] = useState(null);
  useEffect(() => {
    let stream = null;
    let gone = false;
    const media = navigator.mediaDevices;
    Promise.resolve(media ? media.getUserMedia({ video: { facingMode: "environment", width: { ideal: 1920 } } }) : Promise.reject(new Error("https")))
      .then((opened) => {
        if (gone) return opened.getTracks().forEach((track) => track.stop());
        stream = opened;
        view.current.srcObject = opened;
      })
      .catch((error) => fail(error.message));
    return () => { gone = true; stream?.getTracks().forEach((track) => track.stop()); };
  }, []);
  const snap = async () => {
    const bitmap = await createImageBitmap(view.current);
    const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
    canvas.getContext("2d").drawImage(bitmap, 0, 0);
    const blob = await canvas.convertToBlob({ type: "image/png" });
    close();
    session.attach([new File([blob], "camera.png", { type: "image/png" })]);
  };
  return html`
    <${Dialog} title=${t("camera")} close=${close}>
      ${failed ? html`<p role="alert">${t("camera_none", { reason: failed })}</p>`
        : html`<video ref=${view} class="camera" autoplay muted playsinline></video>
          <div class="tools"><button type="button" class="primary" onClick=${snap}>${t("snap")}</button></div>`}
    </${Dialog}>`;
}

export function UrlDialog({ session, close }) {
  const [url, set] = useState("");
  const [bad, mark] = useState(false);
  const submit = (event) => {
    event.preventDefault();
    if (!/^https?:\/\/[^\s]+\.?[^\s]*$/.test(url.trim())) return mark(true);
    session.addUrl(url.trim());
    close();
  };
  return html`
    <${Dialog} title=${t("add_url")} close=${close}>
      <form onSubmit=${submit}>
        <label>${t("url_label")}<input type="text" inputmode="url" autofocus value=${url} onInput=${(event) => { set(event.target.value); mark(false); }} /></label>
        <p class="faint">${bad ? html`<span role="alert" class="bad">${t("url_bad")}</span>` : t("url_hint")}</p>
        <div class="tools"><button type="submit" class="primary">${t("add")}</button></div>
      </form>
    </${Dialog}>`;
}
