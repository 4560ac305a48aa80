/** Draws what tools show: box, corners, points, the brush under the cursor, motion. In CSS pixels, so lines stay thin. */

import { effect } from "@preact/signals";
import * as state from "../state/state";
import { placePicture, toStage, type Point, type Rect } from "./geometry";
import type { Gestures } from "./gestures";
import type { MotionLayer } from "./motion";
import { stageSize } from "./stage_size";

export class Overlay {
  constructor(
    private readonly canvas: HTMLCanvasElement,
    private readonly gestures: Gestures,
  ) {}

  start(motion: MotionLayer): () => void {
    return effect(() => {
      const { width, height } = stageSize.value;
      const ratio = devicePixelRatio;
      if (this.canvas.width !== Math.round(width * ratio)) this.canvas.width = Math.round(width * ratio);
      if (this.canvas.height !== Math.round(height * ratio)) this.canvas.height = Math.round(height * ratio);
      const context = this.canvas.getContext("2d");
      const video = state.video.value;
      if (!context) return;
      context.setTransform(ratio, 0, 0, ratio, 0, 0);
      context.clearRect(0, 0, width, height);
      if (!video) return;
      const placed = placePicture(stageSize.value, video, state.view.value);
      motion.draw(context, placed, video);
      const color = state.objects.value.find((object) => object.id === state.selected.value)?.color ?? "#fff";
      this.drawShapes(context, placed, color);
      this.drawBrush(context, placed, color);
    });
  }

  private drawShapes(context: CanvasRenderingContext2D, placed: Rect, color: string): void {
    const video = state.video.value;
    if (!video) return;
    const at = (point: Point): Point => toStage(point, placed, video);
    const box = this.gestures.box.value;
    if (box) {
      const [a, b] = [at(box), at({ x: box.x + box.width, y: box.y + box.height })];
      outline(context, color, () => context.rect(a.x, a.y, b.x - a.x, b.y - a.y));
    }
    const corners = this.gestures.corners.value;
    const cursor = this.gestures.cursor.value;
    if (corners.length) {
      const line = [...corners, ...(cursor ? [cursor] : [])].map(at);
      outline(context, color, () => line.forEach((p, i) => (i ? context.lineTo(p.x, p.y) : context.moveTo(p.x, p.y))));
      corners.map(at).forEach((p) => dot(context, p, color));
    }
    for (const [point, inside] of this.gestures.points.value) {
      const p = at(point);
      dot(context, p, inside ? "#1a9e5c" : "#d6373b", 7);
      context.fillStyle = "#fff";
      context.fillRect(p.x - 4, p.y - 1, 8, 2);
      if (inside) context.fillRect(p.x - 1, p.y - 4, 2, 8);
    }
  }

  private drawBrush(context: CanvasRenderingContext2D, placed: Rect, color: string): void {
    const cursor = this.gestures.cursor.value;
    const video = state.video.value;
    const tool = state.tool.value;
    if (!cursor || !video || (tool !== "brush" && tool !== "eraser")) return;
    const center = toStage(cursor, placed, video);
    const radius = Math.max(1, ((state.brushSize.value / video.width) * placed.width) / 2);
    outline(context, tool === "eraser" ? "#ffffff" : color, () => context.arc(center.x, center.y, radius, 0, 2 * Math.PI));
  }
}

/** A coloured line on a dark one, which shows on any picture. */
function outline(context: CanvasRenderingContext2D, color: string, path: () => void): void {
  context.beginPath();
  path();
  context.lineWidth = 4;
  context.strokeStyle = "rgb(0 0 0 / 55%)";
  context.stroke();
  context.lineWidth = 2;
  context.strokeStyle = color;
  context.stroke();
}

function dot(context: CanvasRenderingContext2D, { x, y }: Point, color: string, radius = 4): void {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fillStyle = color;
  context.fill();
  context.lineWidth = 1.5;
  context.strokeStyle = "#fff";
  context.stroke();
}
