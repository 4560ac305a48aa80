/** Keyboard shortcuts: one table for the handler and for the help. */

import { addObject, eraseSelected, redoEdit, undoEdit } from "./editing";
import { nameOf } from "./key_names";
import { goTo, goToReview, step, togglePlay } from "./player";
import * as state from "./state";
import type { Tool } from "./state";

interface Shortcut {
  /** `event.key` in lower case; `ctrl+` also stands for the Mac's command key. */
  keys: string[];
  shown: string;
  text: string;
  run: () => void;
}

const choose = (tool: Tool) => () => void (state.tool.value = tool);
const resize = (factor: number) => () => {
  const size = state.brushSize.value * factor;
  state.brushSize.value = Math.max(1, Math.min(200, factor > 1 ? Math.ceil(size) : Math.floor(size)));
};

/** Select the object that is so many places further down the list. */
function selectNext(by: number): void {
  const ids = state.objects.value.map((object) => object.id);
  const at = ids.indexOf(state.selected.value);
  state.selected.value = ids[(at + by + ids.length) % ids.length] ?? 1;
}

export const SHORTCUTS: readonly Shortcut[] = [
  { keys: ["k"], shown: "K", text: "Play or pause", run: togglePlay },
  { keys: ["arrowleft", "arrowright"], shown: "← →", text: "One frame back or on; with Shift ten", run: () => undefined },
  { keys: ["home"], shown: "Home", text: "First frame", run: () => goTo(0) },
  { keys: ["end"], shown: "End", text: "Last frame", run: () => goTo(Infinity) },
  { keys: ["n"], shown: "N", text: "Next frame to check", run: () => goToReview(1) },
  { keys: ["shift+n"], shown: "Shift+N", text: "Frame to check before", run: () => goToReview(-1) },
  { keys: ["h"], shown: "H", text: "Move the picture", run: choose("pan") },
  { keys: ["b"], shown: "B", text: "Box", run: choose("box") },
  { keys: ["p"], shown: "P", text: "Points", run: choose("points") },
  { keys: ["d"], shown: "D", text: "Brush (draw)", run: choose("brush") },
  { keys: ["e"], shown: "E", text: "Eraser", run: choose("eraser") },
  { keys: ["g"], shown: "G", text: "Polygon", run: choose("polygon") },
  { keys: ["["], shown: "[", text: "Smaller brush", run: resize(1 / 1.2) },
  { keys: ["]"], shown: "]", text: "Larger brush", run: resize(1.2) },
  { keys: ["delete"], shown: "Delete", text: "The object is not in this frame", run: eraseSelected },
  { keys: ["ctrl+z"], shown: "Ctrl+Z", text: "Undo", run: undoEdit },
  { keys: ["ctrl+shift+z", "ctrl+y"], shown: "Ctrl+Shift+Z", text: "Redo", run: redoEdit },
  { keys: ["a"], shown: "A", text: "Add an object", run: addObject },
  { keys: ["x"], shown: "X", text: "Select the next object", run: () => selectNext(1) },
  { keys: ["v"], shown: "V", text: "Motion vectors and residual", run: () => void (state.showMotion.value = !state.showMotion.value) },
  { keys: ["c"], shown: "C", text: "Compare with the version before", run: () => void (state.compare.value = state.compare.value === "before" ? "off" : "before") },
  { keys: ["0"], shown: "0", text: "Fit the picture", run: () => void (state.view.value = { zoom: 1, x: 0, y: 0 }) },
  { keys: ["?", "shift+?"], shown: "?", text: "This list", run: () => void (state.dialog.value = "help") },
];

export function handleKey(event: KeyboardEvent): void {
  const target = event.target as HTMLElement;
  const types = target.matches("input:not([type=radio], [type=range], [type=checkbox]), select, textarea");
  const slides = target.matches("input[type=range], input[type=radio]") && event.key.startsWith("Arrow");
  if (types || slides || event.altKey || state.dialog.value) return;
  if (!state.origin.value && event.key !== "?") return;
  if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
    event.preventDefault();
    return step((event.key === "ArrowLeft" ? -1 : 1) * (event.shiftKey ? 10 : 1));
  }
  const found = SHORTCUTS.find(({ keys }) => keys.includes(nameOf(event)));
  if (!found) return;
  event.preventDefault();
  found.run();
}
