// The reference frames of Select References: click to exclude, shift-click or P to pin. Writes the node's own two text widgets.
import { formatFrames, parseFrames } from "./frame_list.js";
import { fileUrl, make, setWidget, viewOf, widgetOf } from "./view_widget.js";
import { word } from "./words.js";

export function addReferenceStrip(node, output) {
  const element = viewOf(node, "references", 210);
  const strip = make("div", { className: "strip" });
  const list = (name) => parseFrames(widgetOf(node, name)?.value);

  const toggle = (name, other, frame) => {
    const now = list(name);
    setWidget(node, name, formatFrames(now.includes(frame) ? now.filter((f) => f !== frame) : [...now, frame]));
    setWidget(node, other, formatFrames(list(other).filter((f) => f !== frame)));
    refresh();
  };
  const exclude = (frame) => toggle("exclude", "pin", frame);
  const pin = (frame) => toggle("pin", "exclude", frame);

  const buttons = output.personatalk_references.map(({ frame, picture }) => {
    const button = make("button", { type: "button", dataset: { frame } });
    button.append(make("img", { src: fileUrl(picture), alt: "", loading: "lazy", draggable: false }), make("span", { className: "number", textContent: frame }));
    button.addEventListener("click", (event) => (event.shiftKey ? pin(frame) : exclude(frame)));
    button.addEventListener("keydown", (event) => {
      if (event.key.toLowerCase() === "p") pin(frame);
    });
    return button;
  });
  strip.append(...buttons);
  const gone = make("div", { className: "row note" });
  element.append(make("div", { className: "note", textContent: word("strip") }), strip, gone);

  function refresh() {
    const [excluded, pinned] = [list("exclude"), list("pin")];
    for (const button of buttons) {
      const frame = Number(button.dataset.frame);
      const state = excluded.includes(frame) ? "excluded" : pinned.includes(frame) ? "pinned" : "";
      button.className = state;
      button.setAttribute("aria-pressed", String(Boolean(state)));
      button.title = `${word("frame")} ${frame}${state ? `, ${word(state)}` : ""}`;
      button.setAttribute("aria-label", button.title);
    }
    const shown = new Set(output.personatalk_references.map(({ frame }) => frame));
    const changed = excluded.some((frame) => shown.has(frame)) || pinned.some((frame) => !shown.has(frame));
    gone.replaceChildren(changed ? word("again") : "");
  }
  refresh();
}
