/** The JSON of the service that the page reads; `/openapi.json` describes it. */

export interface Rle {
  size: [height: number, width: number];
  counts: string;
}

export type Source = "prompt" | "key" | "propagated" | "fallback" | "corrected";
export type Status = "queued" | "running" | "succeeded" | "failed" | "canceled";

export interface ObjectMask {
  id: number;
  rle: Rle;
  score: number;
}

export interface FrameLine {
  index: number;
  source: Source;
  objects: ObjectMask[];
}

export interface Video {
  codec: string;
  width: number;
  height: number;
  fps: number | null;
  frames: number | null;
  duration: number | null;
  rotation: number;
}

export interface PromptObject {
  object: number;
  label: string | null;
  frame: number;
}

export interface Job {
  id: string;
  status: Status;
  progress: { done: number; total: number | null; stage: string; fps: number | null };
  created_at: string;
  options: {
    labels?: Record<string, string> | null;
    colors?: Record<string, string> | null;
    soft?: boolean;
    [name: string]: unknown;
  };
  video: Video;
  prompt: PromptObject[];
  notes: string[];
  report: { notes?: string[]; [name: string]: unknown } | null;
  error: { type: string; detail: string } | null;
  corrects?: string | null;
}

export interface ReviewRange {
  from: number;
  to: number;
  object: number;
  reason: "lost" | "cut" | "uncertain" | "area" | "border" | "far";
  score: number;
}

export interface Model {
  name: string;
  summary: string;
  available: boolean;
  default: boolean;
}

export interface Probe {
  frames: number;
  types?: Record<string, number>;
  motion_coverage?: number;
  advice?: string[];
}

/** One entry of a prompt: a mask, a box, points, or word that an object is not in the picture. */
export interface PromptEntry {
  frame: number;
  object: number;
  label?: string;
  rle?: Rle;
  box?: [x: number, y: number, width: number, height: number];
  points?: [x: number, y: number, inside: 0 | 1][];
  absent?: true;
}

export interface MadeMask {
  objects: ObjectMask[];
  notes: string[];
}

/** Motion and residual of one frame. Vectors are in display pixels and lead to where the content comes from. */
export interface Analysis {
  type: string;
  source: "bitstream" | "proxy";
  motion: { columns: number; rows: number; dx: (number | null)[]; dy: (number | null)[] };
  residual: { width: number; height: number; png: string };
}
