/** Draws the timeline on one canvas from typed arrays, so that its cost depends on its width and not on the video. */

import type { ReviewRange } from "../api/types";
import { SOURCES } from "../masks/protocol";
import { NONE, type Track } from "../masks/track";
import type { ObjectInfo } from "../state/state";
import { columnSources, lowestScores, runsOf } from "./layout";

export const RULER = 18;
export const STRIP = 14;
export const LANE = 18;
export const GAP = 3;

export interface Picture {
  frames: number;
  frame: number;
  fps: number;
  objects: readonly ObjectInfo[];
  track: Track | null;
  review: readonly ReviewRange[];
  edited: readonly number[];
  colors: Record<string, string>;
}

export const heightFor = (objects: number): number => RULER + STRIP + GAP + Math.max(1, objects) * (LANE + GAP) + 4;

/** Draw everything. `width` and the context's units are CSS pixels. */
export function drawTimeline(context: CanvasRenderingContext2D, width: number, height: number, picture: Picture): void {
  context.clearRect(0, 0, width, height);
  const columns = Math.max(1, Math.floor(width));
  drawRuler(context, width, picture);
  context.fillStyle = picture.colors.empty ?? "";
  context.fillRect(0, RULER, width, STRIP);
  picture.objects.forEach((_, row) => context.fillRect(0, laneTop(row), width, LANE));
  if (picture.track) drawTrack(context, columns, picture, picture.track);
  drawReview(context, width, picture);
  drawEdits(context, width, picture);
  drawPlayhead(context, width, height, picture);
}

const laneTop = (row: number): number => RULER + STRIP + GAP + row * (LANE + GAP);

function drawRuler(context: CanvasRenderingContext2D, width: number, { frames, colors, fps }: Picture): void {
  const perTick = tickFrames(frames, width);
  context.font = "11px system-ui, sans-serif";
  context.textBaseline = "top";
  for (let frame = 0; frame < frames; frame += perTick) {
    const x = Math.round((frame / frames) * width) + 0.5;
    context.fillStyle = colors.line ?? "";
    context.fillRect(x, RULER - 5, 1, 5);
    context.fillStyle = colors.muted ?? "";
    if (x < width - 70) context.fillText(`${frame}`, x + 3, 2);
  }
  const seconds = `${(frames / fps).toFixed(1)} s`;
  context.textAlign = "right";
  context.fillText(seconds, width - 2, 2);
  context.textAlign = "left";
}

/** Return a round number of frames between ticks that are at least 70 pixels apart. */
export function tickFrames(frames: number, width: number): number {
  const least = (70 * frames) / Math.max(1, width);
  for (let power = 1; ; power *= 10) {
    for (const factor of [1, 2, 5]) if (factor * power >= least) return factor * power;
  }
}

function drawTrack(context: CanvasRenderingContext2D, columns: number, picture: Picture, track: Track): void {
  const { frames, colors, objects } = picture;
  for (const [first, end, source] of runsOf(columnSources(track.sources, frames, columns))) {
    if (source === NONE) continue;
    context.fillStyle = colors[SOURCES[source] ?? ""] ?? "";
    context.fillRect(first, RULER, end - first, STRIP);
  }
  objects.forEach((object, row) => {
    const scores = track.scores.get(object.id);
    if (!scores) return;
    context.fillStyle = object.color;
    // Ten steps are what the eye tells apart in a lane, and make long runs.
    const steps = lowestScores(scores, frames, columns).map((score) => (score < 0 ? -1 : Math.ceil(score * 10)));
    for (const [first, end, tenths] of runsOf(steps)) {
      if (tenths < 0) continue;
      const high = Math.max(1, (tenths / 10) * LANE);
      context.globalAlpha = 0.45 + 0.055 * Math.max(0, tenths);
      context.fillRect(first, laneTop(row) + LANE - high, end - first, high);
    }
    context.globalAlpha = 1;
  });
}

function drawReview(context: CanvasRenderingContext2D, width: number, { frames, review, objects, colors }: Picture): void {
  context.fillStyle = colors.review ?? "";
  for (const range of review) {
    const row = objects.findIndex((object) => object.id === range.object);
    const x = (range.from / frames) * width;
    const length = Math.max(2, ((range.to - range.from) / frames) * width);
    context.globalAlpha = 0.28;
    if (row >= 0) context.fillRect(x, laneTop(row), length, LANE);
    context.globalAlpha = 1;
    context.fillRect(x, row >= 0 ? laneTop(row) + LANE - 2 : RULER + STRIP, length, 2);
  }
}

function drawEdits(context: CanvasRenderingContext2D, width: number, { frames, edited, colors }: Picture): void {
  context.fillStyle = colors.edit ?? "";
  for (const frame of edited) {
    const x = ((frame + 0.5) / frames) * width;
    context.beginPath();
    context.moveTo(x - 5, RULER - 6);
    context.lineTo(x + 5, RULER - 6);
    context.lineTo(x, RULER + 2);
    context.fill();
  }
}

function drawPlayhead(context: CanvasRenderingContext2D, width: number, height: number, { frames, frame, colors }: Picture): void {
  const wide = Math.max(2, width / frames);
  const x = (frame / frames) * width;
  context.fillStyle = colors.playhead ?? "";
  context.globalAlpha = 0.25;
  if (wide > 2) context.fillRect(x, RULER, wide, height - RULER);
  context.globalAlpha = 1;
  context.fillRect(Math.round(x + wide / 2) - 1, RULER - 4, 2, height - RULER + 4);
  context.beginPath();
  context.arc(x + wide / 2, RULER - 6, 4, 0, 2 * Math.PI);
  context.fill();
}
