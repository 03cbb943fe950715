// Entry of the page's part: gives each node what its run sent for it. Everything shown is extra: without it the graph works the same.
import { app } from "../../../scripts/app.js";
import { addDubPlayer } from "./dub_player.js";
import { addGeometryViewer } from "./geometry_viewer.js";
import { addReferenceStrip } from "./reference_strip.js";
import { addStyleCards } from "./style_cards.js";

// key of the node's output -> what draws it
const DRAWN_BY = {
  personatalk_dub: addDubPlayer,
  personatalk_geometry: addGeometryViewer,
  personatalk_references: addReferenceStrip,
  personatalk_styles: addStyleCards,
};

app.registerExtension({
  name: "PersonaTalk.Views",
  async beforeRegisterNodeDef(nodeType, nodeData) {
    if (!nodeData.name.startsWith("PersonaTalk")) return;
    const onExecuted = nodeType.prototype.onExecuted;
    nodeType.prototype.onExecuted = function (output) {
      onExecuted?.apply(this, arguments);
      for (const [key, draw] of Object.entries(DRAWN_BY)) {
        if (!output?.[key]) continue;
        try {
          draw(this, output);
        } catch (error) {
          console.warn("PersonaTalk: a view could not be drawn, the result is not affected.", error);
        }
      }
    };
  },
});
