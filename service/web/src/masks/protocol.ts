/** Messages between the page and the worker that holds the masks. A track is the masks of one job. */

import type { Source } from "../api/types";

export const SOURCES: readonly Source[] = ["prompt", "key", "propagated", "fallback", "corrected"];

export type ToWorker =
  | { kind: "follow"; track: string; url: string; headers: Record<string, string> }
  | { kind: "forget"; track: string }
  | { kind: "decode"; request: number; track: string; frame: number };

/** What the timeline shows of some frames: the index into SOURCES, and the score of each object in the frame. */
export interface Summary {
  frames: number[];
  sources: number[];
  scores: [id: number, score: number][][];
}

export type FromWorker =
  | { kind: "lines"; track: string; summary: Summary }
  | { kind: "end"; track: string; next: number; failure: number | null }
  | { kind: "decoded"; request: number; map: Uint8Array | null };
