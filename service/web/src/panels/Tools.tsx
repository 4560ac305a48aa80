/** The tools on the left. */

import { useRef } from "preact/hooks";
import { eraseSelected, loadMaskPicture, redoEdit, undoEdit } from "../state/editing";
import * as state from "../state/state";
import type { Tool } from "../state/state";
import { IconButton, type IconName } from "./icons";

const TOOLS: { tool: Tool; icon: IconName; label: string; keys: string }[] = [
  { tool: "pan", icon: "pan", label: "Move the picture", keys: "H, or hold Space" },
  { tool: "box", icon: "box", label: "Box around an object", keys: "B" },
  { tool: "points", icon: "points", label: "Points: click inside, Alt+click outside", keys: "P" },
  { tool: "brush", icon: "brush", label: "Brush", keys: "D" },
  { tool: "eraser", icon: "eraser", label: "Eraser", keys: "E" },
  { tool: "polygon", icon: "polygon", label: "Polygon: click corners, Enter closes", keys: "G" },
];

export function Tools() {
  const file = useRef<HTMLInputElement>(null);
  const ready = state.video.value !== null && state.origin.value !== null;
  const paints = state.tool.value === "brush" || state.tool.value === "eraser";
  return (
    <nav class="tools" aria-label="Tools">
      <div class="tool-group" role="group" aria-label="Marking">
        {TOOLS.map(({ tool, icon, label, keys }) => (
          <IconButton
            key={tool}
            icon={icon}
            label={label}
            keys={keys}
            pressed={state.tool.value === tool}
            disabled={!ready}
            onClick={() => (state.tool.value = tool)}
          />
        ))}
        <IconButton icon="load" label="Load a mask (PNG)" disabled={!ready} onClick={() => file.current?.click()} />
        <IconButton icon="absent" label="The object is not in this frame" keys="Delete" disabled={!ready} onClick={eraseSelected} />
        <input
          ref={file}
          type="file"
          class="unseen"
          tabIndex={-1}
          aria-label="Mask picture"
          accept="image/png,image/*"
          onChange={(event) => {
            const chosen = event.currentTarget.files?.[0];
            event.currentTarget.value = "";
            if (chosen) void loadMaskPicture(chosen);
          }}
        />
      </div>
      <div class="tool-group" role="group" aria-label="History">
        <IconButton icon="undo" label="Undo" keys="Ctrl+Z" disabled={!state.canUndo.value} onClick={undoEdit} />
        <IconButton icon="redo" label="Redo" keys="Ctrl+Shift+Z" disabled={!state.canRedo.value} onClick={redoEdit} />
      </div>
      {paints && (
        <label class="brush-size">
          <span>Size {state.brushSize.value}</span>
          <input
            type="range"
            min="1"
            max="200"
            aria-label="Brush size in pixels"
            value={state.brushSize.value}
            onInput={(event) => (state.brushSize.value = Number(event.currentTarget.value))}
          />
        </label>
      )}
    </nav>
  );
}
