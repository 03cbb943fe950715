// A view on a node: one DOM widget a node and kind, made once, filled again after each run, never saved with the graph.
import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";

const STYLE = `
.personatalk { box-sizing: border-box; width: 100%; height: 100%; display: flex; flex-direction: column; gap: 6px; padding: 4px;
  color: var(--input-text, #ddd); font: 12px/1.35 sans-serif; overflow: hidden; }
.personatalk button, .personatalk select { color: inherit; background: var(--comfy-input-bg, #222); border: 1px solid var(--border-color, #555);
  border-radius: 6px; padding: 2px 8px; font: inherit; cursor: pointer; }
.personatalk button:focus-visible, .personatalk input:focus-visible, .personatalk [tabindex]:focus-visible { outline: 2px solid var(--p-primary-color, #5aa9ff); outline-offset: 1px; }
.personatalk input[type=range] { flex: 1; min-width: 0; accent-color: var(--p-primary-color, #5aa9ff); }
.personatalk .row { display: flex; gap: 6px; align-items: center; }
.personatalk .note { color: var(--descrip-text, #999); }
.personatalk .stage { position: relative; flex: 1; min-height: 0; background: var(--comfy-input-bg, #111); border-radius: 6px; overflow: hidden; }
.personatalk .stage > video, .personatalk .stage > canvas { position: absolute; inset: 0; width: 100%; height: 100%; object-fit: contain; }
.personatalk .line { position: absolute; top: 0; bottom: 0; width: 2px; background: var(--p-primary-color, #5aa9ff); pointer-events: none; }
.personatalk .tag { position: absolute; top: 6px; padding: 1px 6px; border-radius: 4px; background: #000a; color: #fff; pointer-events: none; }
.personatalk .strip { display: grid; grid-template-columns: repeat(auto-fill, minmax(64px, 1fr)); gap: 4px; overflow-y: auto; align-content: start; grid-auto-rows: min-content; flex: 1; min-height: 0; }
.personatalk .strip button { position: relative; padding: 0; width: 100%; aspect-ratio: 1; min-height: 0; overflow: hidden; border-width: 2px; }
.personatalk .strip img { position: absolute; inset: 0; width: 100%; height: 100%; object-fit: cover; }
.personatalk .strip .number { position: absolute; left: 2px; bottom: 2px; padding: 0 4px; border-radius: 3px; background: #000a; color: #fff; font-size: 10px; }
.personatalk .strip .pinned { border-color: #4caf50; }
.personatalk .strip .excluded { border-color: #e05555; opacity: 0.4; }
.personatalk .cards { display: flex; flex-wrap: wrap; gap: 6px; overflow-y: auto; flex: 1; min-height: 0; align-content: start; }
.personatalk .card { display: flex; gap: 8px; align-items: center; flex: 1 1 130px; min-width: 0; padding: 4px; border: 1px solid var(--border-color, #555); border-radius: 8px; }
.personatalk .card .face { width: 44px; height: 44px; flex: none; border-radius: 50%; object-fit: cover; background: var(--comfy-input-bg, #222); display: grid; place-items: center; font-size: 16px; }
.personatalk .card .words { min-width: 0; flex: 1; overflow: hidden; text-overflow: ellipsis; }
`;

function addStyleSheet() {
  if (document.getElementById("personatalk-style")) return;
  const sheet = document.createElement("style");
  sheet.id = "personatalk-style";
  sheet.textContent = STYLE;
  document.head.append(sheet);
}

/** The element of a view, empty; made on first use. height: pixels it needs on the node. */
export function viewOf(node, kind, height) {
  addStyleSheet();
  node.personatalkViews ??= {};
  let element = node.personatalkViews[kind];
  if (!element) {
    element = node.personatalkViews[kind] = document.createElement("div");
    element.className = "personatalk";
    element.dataset.view = kind;
    // keys meant for the view must not reach the graph, where Delete removes the node
    element.addEventListener("keydown", (event) => event.stopPropagation());
    const widget = node.addDOMWidget(`personatalk_${kind}`, "personatalk", element, {
      serialize: false,
      hideOnZoom: true,
      getMinHeight: () => height,
      getValue: () => undefined,
      setValue: () => {},
    });
    widget.serialize = false;
    const onRemoved = node.onRemoved;
    node.onRemoved = function () {
      element.dispatchEvent(new Event("personatalk-removed"));
      onRemoved?.apply(this, arguments);
    };
    const [width, least] = node.computeSize();
    node.setSize([Math.max(node.size[0], width), Math.max(node.size[1], least)]);
  }
  element.dispatchEvent(new Event("personatalk-removed")); // what drew here before lets go
  element.replaceChildren();
  app.graph?.setDirtyCanvas?.(true, true);
  return element;
}

/** Where the server hands out a file that a node named by {filename, subfolder, type}. */
export function fileUrl(file) {
  return api.apiURL(`/view?${new URLSearchParams({ filename: file.filename, subfolder: file.subfolder ?? "", type: file.type })}`);
}

export function make(tag, properties = {}, ...children) {
  const { dataset, ...rest } = properties;
  const element = Object.assign(document.createElement(tag), rest);
  if (dataset) Object.assign(element.dataset, dataset);
  element.append(...children);
  return element;
}

export function widgetOf(node, name) {
  return node.widgets?.find((widget) => widget.name === name);
}

/** Set a widget as if the user had: its callback runs and the graph knows it changed. */
export function setWidget(node, name, value) {
  const widget = widgetOf(node, name);
  if (!widget || widget.value === value) return;
  widget.value = value;
  widget.callback?.(value, app.canvas, node);
  app.graph?.setDirtyCanvas?.(true, true);
}

/** Take away the last progress picture of a finished run: the view shows the result itself. */
export function dropPreview(node) {
  const drop = () => {
    if (!node.imgs) return;
    for (const key of Object.keys(app.nodePreviewImages ?? {})) {
      if (key === String(node.id) || key.endsWith(`:${node.id}`)) delete app.nodePreviewImages[key];
    }
    node.imgs = undefined;
    const index = node.widgets?.findIndex((widget) => widget.name === "$$canvas-image-preview") ?? -1;
    if (index >= 0) {
      node.widgets[index].onRemove?.();
      node.widgets.splice(index, 1);
    }
    app.graph?.setDirtyCanvas?.(true, true);
  };
  drop();
  for (const later of [200, 600, 1200]) setTimeout(drop, later); // a picture still on its way is drawn after the run has ended
}
