/** Shows why a frame was key: the bitstream's motion vectors, and the residual that motion does not explain. */

import { effect, signal } from "@preact/signals";
import { readAnalysis } from "../api/jobs";
import type { Analysis } from "../api/types";
import { reportError } from "../state/messages";
import * as state from "../state/state";
import { toStage, type Rect, type Size } from "./geometry";

const LEAST_SPACING = 11;
const SHORTEST = 0.25;

/** Vectors and residual of the frame on the stage. */
interface Shown {
  frame: number;
  analysis: Analysis;
  residual: ImageBitmap;
}

export class MotionLayer {
  private readonly shown = signal<Shown | null>(null);

  /** Fetch the analysis of the current frame while the switch is on. */
  start(): () => void {
    let wanted = new AbortController();
    return effect(() => {
      const origin = state.origin.value;
      const frame = state.frame.value;
      wanted.abort();
      wanted = new AbortController();
      if (!state.showMotion.value || !origin || state.playing.value) return;
      const { signal } = wanted;
      readAnalysis(origin, frame, signal)
        .then(async (analysis) => {
          const residual = await heatOf(analysis.residual.png);
          if (!signal.aborted) this.shown.value = { frame, analysis, residual };
        })
        .catch((error: unknown) => !signal.aborted && reportError(error));
    });
  }

  draw(context: CanvasRenderingContext2D, placed: Rect, video: Size): void {
    const shown = this.shown.value;
    if (!state.showMotion.value || !shown || shown.frame !== state.frame.value) return;
    context.imageSmoothingEnabled = true;
    context.drawImage(shown.residual, placed.x, placed.y, placed.width, placed.height);
    const { columns, rows, dx, dy } = shown.analysis.motion;
    const every = Math.max(1, Math.ceil((LEAST_SPACING * columns) / placed.width));
    context.beginPath();
    for (let row = every >> 1; row < rows; row += every) {
      for (let column = every >> 1; column < columns; column += every) {
        const [x, y] = [dx[row * columns + column], dy[row * columns + column]];
        if (x == null || y == null || Math.hypot(x, y) < SHORTEST) continue;
        const cell = { x: ((column + 0.5) / columns) * video.width, y: ((row + 0.5) / rows) * video.height };
        const to = toStage(cell, placed, video);
        const from = toStage({ x: cell.x + x, y: cell.y + y }, placed, video);
        context.moveTo(from.x, from.y);
        context.lineTo(to.x, to.y);
        context.rect(to.x - 1, to.y - 1, 2, 2);
      }
    }
    context.lineWidth = 1.25;
    context.strokeStyle = "#7df0ff";
    context.stroke();
  }
}

/** Return a grey picture as heat: clear where it is black, orange where it is bright. */
async function heatOf(png: string): Promise<ImageBitmap> {
  const bytes = Uint8Array.from(atob(png), (character) => character.charCodeAt(0));
  const grey = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
  const canvas = new OffscreenCanvas(grey.width, grey.height);
  const context = canvas.getContext("2d");
  if (!context) return grey;
  context.drawImage(grey, 0, 0);
  const image = context.getImageData(0, 0, grey.width, grey.height);
  for (let i = 0; i < image.data.length; i += 4) {
    const bright = image.data[i] ?? 0;
    image.data.set([255, 90 + bright / 2, 20, Math.min(220, bright * 1.6)], i);
  }
  return createImageBitmap(image);
}
