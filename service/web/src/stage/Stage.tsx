/** The picture with its masks, and the canvas on which tools draw. */

import { useEffect, useRef } from "preact/hooks";
import { loadMaskPicture } from "../state/editing";
import { say } from "../state/messages";
import * as state from "../state/state";
import { placePicture } from "./geometry";
import { Gestures } from "./gestures";
import { MotionLayer } from "./motion";
import { Overlay } from "./overlay";
import { LocalPreview } from "./LocalPreview";
import { startRenderer } from "./renderer";
import { stageSize, watchSize } from "./stage_size";

export function Stage() {
  const stage = useRef<HTMLDivElement>(null);
  const picture = useRef<HTMLCanvasElement>(null);
  const masks = useRef<HTMLCanvasElement>(null);
  const overlay = useRef<HTMLCanvasElement>(null);

  useEffect(() => {
    if (!stage.current || !picture.current || !masks.current || !overlay.current) return;
    const gestures = new Gestures(stage.current);
    const drawing = new Overlay(overlay.current, gestures);
    const motion = new MotionLayer();
    const stops = [
      watchSize(stage.current),
      startRenderer(picture.current, masks.current, () => stageSize.value.width * devicePixelRatio),
      gestures.start(),
      motion.start(),
      drawing.start(motion),
    ];
    return () => stops.forEach((stop) => stop());
  }, []);

  const video = state.video.value;
  const placed = video && placePicture(stageSize.value, video, state.view.value);
  const place = placed
    ? { left: `${placed.x}px`, top: `${placed.y}px`, width: `${placed.width}px`, height: `${placed.height}px` }
    : { display: "none" };
  return (
    <div
      class={`stage tool-${state.tool.value}`}
      ref={stage}
      role="application"
      tabIndex={0}
      aria-label={`Video, frame ${state.frame.value}. Tool: ${state.tool.value}. Press question mark for keyboard shortcuts.`}
      onDragOver={(event) => event.preventDefault()}
      onDrop={(event) => {
        event.preventDefault();
        const file = event.dataTransfer?.files[0];
        if (file?.type.startsWith("image/")) void loadMaskPicture(file);
        else if (file) say("A picture of a mask can be dropped here. For another video, use Open another.");
      }}
    >
      <LocalPreview />
      <canvas ref={picture} class="layer picture" style={place} />
      <canvas ref={masks} class={`layer masks ${(placed?.width ?? 0) > 3 * (video?.width ?? 1) ? "coarse" : ""}`} style={place} />
      <canvas ref={overlay} class="overlay" />
    </div>
  );
}
