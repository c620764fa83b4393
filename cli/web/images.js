// Images that go with the next message.

import { $, announce, h, show } from "./dom.js";
import { bytes } from "./format.js";
import * as model from "./model.js";

const MOST_IMAGE = 10 << 20;

let pictures = [];

export const any = () => pictures.length > 0;

/** The images, which are no longer waiting. */
export function taken() {
  const all = pictures;
  pictures = [];
  draw();
  return all;
}

export function start() {
  $("message").addEventListener("paste", (event) => take([...event.clipboardData.files], event));
  $("view-chat").addEventListener("dragover", (event) => event.preventDefault());
  $("view-chat").addEventListener("drop", (event) => take([...event.dataTransfer.files], event));
  $("attach").addEventListener("click", () => $("attach-file").click());
  $("attach-file").addEventListener("change", (event) => {
    take([...event.target.files]);
    event.target.value = "";
  });
  model.onChange(() => show($("attach"), model.sees()));
}

/** Attaches the images among these files, where the model sees. */
async function take(files, event) {
  const images = files.filter((file) => file.type.startsWith("image/"));
  if (!images.length || !model.sees()) return;
  event?.preventDefault();
  for (const file of images) {
    if (file.size > MOST_IMAGE) {
      announce(`${file.name} is larger than ${bytes(MOST_IMAGE)} and was left out.`);
      continue;
    }
    const url = await new Promise((resolve, reject) => {
      const reader = new FileReader();
      reader.onload = () => resolve(reader.result);
      reader.onerror = () => reject(reader.error);
      reader.readAsDataURL(file);
    });
    pictures.push(url);
  }
  draw();
  $("message").focus();
}

function draw() {
  const box = $("attached");
  show(box, pictures.length > 0);
  box.replaceChildren(
    ...pictures.map((src, i) =>
      h(
        "span",
        { class: "picture" },
        h("img", { src, alt: `Image ${i + 1}` }),
        h("button", { type: "button", class: "icon", "aria-label": `Remove image ${i + 1}`, onclick: () => (pictures.splice(i, 1), draw()) }, "×"),
      ),
    ),
  );
}
