/** The masks of one job as the timeline needs them; the masks themselves stay in the worker. */

import { SOURCES, type Summary } from "./protocol";

/** No mask of the frame has come yet, in `Track.sources`. */
export const NONE = 255;

/** Summary of the masks of one job, in arrays with one value per frame. */
export class Track {
  sources = new Uint8Array(0).fill(NONE);
  scores = new Map<number, Float32Array>();
  newest = -1;
  count = 0;

  /** Add lines of the stream. A score is -1 where no mask has come, and 0 where the object is not in the frame. */
  add(summary: Summary): void {
    this.reserve(Math.max(...summary.frames) + 1);
    summary.frames.forEach((frame, i) => {
      if (this.sources[frame] === NONE) this.count += 1;
      this.sources[frame] = summary.sources[i] ?? 0;
      for (const [id, score] of summary.scores[i] ?? []) this.scoresOf(id)[frame] = score;
      for (const scores of this.scores.values()) if ((scores[frame] ?? -1) < 0) scores[frame] = 0;
      this.newest = frame;
    });
  }

  has(frame: number): boolean {
    return frame < this.sources.length && this.sources[frame] !== NONE;
  }

  sourceOf(frame: number): string | null {
    return this.has(frame) ? (SOURCES[this.sources[frame] ?? 0] ?? null) : null;
  }

  private scoresOf(id: number): Float32Array {
    let scores = this.scores.get(id);
    if (!scores) {
      scores = Float32Array.from(this.sources, (source) => (source === NONE ? -1 : 0));
      this.scores.set(id, scores);
    }
    return scores;
  }

  private reserve(frames: number): void {
    if (frames <= this.sources.length) return;
    const length = Math.max(frames, 2 * this.sources.length, 256);
    const sources = new Uint8Array(length).fill(NONE);
    sources.set(this.sources);
    this.sources = sources;
    for (const [id, old] of this.scores) {
      const scores = new Float32Array(length).fill(-1);
      scores.set(old);
      this.scores.set(id, scores);
    }
  }
}
