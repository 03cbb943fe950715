// Cards of the styles a node made, loaded, mixes or speaks in. On Mix Styles each card has the slider of its weight, where a style
// is spoken in the slider of its strength; both write the node's own widgets.
import { make, setWidget, viewOf, widgetOf } from "./view_widget.js";
import { word } from "./words.js";

const SLOTS = "abcd";

export function addStyleCards(node, output) {
  const styles = output.personatalk_styles;
  const weights = node.inputs?.filter((input) => /^style_[a-d]$/.test(input.name) && input.link != null).map((input) => `weight_${input.name.at(-1)}`) ?? [];
  const strong = Boolean(widgetOf(node, "style_strength"));
  const mixing = Boolean(widgetOf(node, "weight_a")) && weights.length === styles.length;
  const element = viewOf(node, "styles", mixing ? 36 + 62 * Math.ceil(styles.length / 2) : 70);
  const cards = make("div", { className: "cards" });
  const refreshers = [];
  const refresh = () => refreshers.forEach((one) => one());

  styles.forEach((style, index) => {
    const face = style.picture
      ? make("img", { className: "face", src: style.picture, alt: "", draggable: false })
      : make("span", { className: "face", textContent: [...style.name][0]?.toUpperCase() ?? "?", ariaHidden: "true" });
    const words = make("div", { className: "words" }, make("div", { textContent: style.name, title: style.name }));
    if (mixing) {
      const name = weights[index];
      const share = make("span", { className: "note" });
      const slider = make("input", { type: "range", min: 0, max: 1, step: 0.01, ariaLabel: `${style.name}: ${word("share")}` });
      slider.addEventListener("input", () => {
        setWidget(node, name, Number(slider.value));
        refresh();
      });
      refreshers.push(() => {
        const total = weights.reduce((sum, other) => sum + Number(widgetOf(node, other)?.value ?? 0), 0);
        const own = Number(widgetOf(node, name)?.value ?? 0);
        slider.value = own;
        share.textContent = total > 0 ? `${Math.round((100 * own) / total)} %` : "–";
      });
      words.append(make("div", { className: "row" }, slider, share));
    } else if (strong) {
      const amount = make("span", { className: "note" });
      const slider = make("input", { type: "range", min: 0, max: 2, step: 0.05, ariaLabel: `${style.name}: ${word("strength")}`, title: word("strength") });
      slider.addEventListener("input", () => {
        setWidget(node, "style_strength", Number(slider.value));
        refresh();
      });
      refreshers.push(() => {
        slider.value = Number(widgetOf(node, "style_strength")?.value ?? 1);
        amount.textContent = Number(slider.value).toFixed(2);
      });
      words.append(make("div", { className: "row" }, slider, amount));
    } else {
      words.append(make("div", { className: "note", textContent: style.network }));
    }
    cards.append(make("div", { className: "card" }, face, words));
  });
  element.append(cards);

  if (mixing || strong) {
    for (const name of [...SLOTS].map((slot) => `weight_${slot}`).concat("style_strength")) {
      const widget = widgetOf(node, name);
      if (!widget || widget.personatalkWatched) continue;
      widget.personatalkWatched = true;
      const callback = widget.callback;
      widget.callback = function () {
        const result = callback?.apply(this, arguments);
        node.personatalkRefreshCards?.();
        return result;
      };
    }
    node.personatalkRefreshCards = refresh;
  }
  refresh();
}
