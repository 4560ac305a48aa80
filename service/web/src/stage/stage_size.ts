/** The size of the stage in CSS pixels. */

import { signal } from "@preact/signals";
import type { Size } from "./geometry";

export const stageSize = signal<Size>({ width: 640, height: 360 });

/** Keep `stageSize` up to date until the returned function is called. */
export function watchSize(stage: HTMLElement): () => void {
  const observer = new ResizeObserver(() => {
    stageSize.value = { width: Math.max(1, stage.clientWidth), height: Math.max(1, stage.clientHeight) };
  });
  observer.observe(stage);
  return () => observer.disconnect();
}
