/** Numbers and facts in plain words. */

import type { Job, Probe, ReviewRange, Video } from "../api/types";

export function sizeText(bytes: number): string {
  if (bytes < 1e6) return `${Math.max(1, Math.round(bytes / 1e3))} kB`;
  return bytes < 1e9 ? `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
}

/** Return a duration as people say it: `8 s`, `3 min 20 s`, `2 h 5 min`. */
export function durationText(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min${whole % 60 ? ` ${whole % 60} s` : ""}`;
  return `${Math.floor(whole / 3600)} h ${Math.round((whole % 3600) / 60)} min`;
}

/** Return a time in the video as `m:ss.cc`. */
export function timeText(seconds: number): string {
  const minutes = Math.floor(seconds / 60);
  return `${minutes}:${(seconds - 60 * minutes).toFixed(2).padStart(5, "0")}`;
}

export function videoText(video: Video): string {
  const parts = [video.codec.toUpperCase(), `${video.width} × ${video.height}`];
  if (video.fps) parts.push(`${Number(video.fps.toFixed(2))} fps`);
  if (video.frames) parts.push(`${video.frames.toLocaleString("en")} frames`);
  return parts.join(" · ");
}

/** Say in one or two sentences what the bitstream offers. */
export function probeText(probe: Probe): string[] {
  const lines: string[] = [];
  if (probe.motion_coverage !== undefined) {
    const share = Math.round(probe.motion_coverage * 100);
    lines.push(`The stream's own motion explains ${share} % of the picture, so masks can travel along it.`);
  }
  return [...lines, ...(probe.advice ?? [])];
}

const STAGES: Record<string, string> = {
  waiting: "Waiting for a free worker",
  loading: "Loading the network",
  resuming: "Resuming",
  segmenting: "Computing masks",
  finished: "Finished",
};

/** Say how far a job is, how fast, and how long it will take. */
export function progressText(job: Job): string {
  const { done, total, stage, fps } = job.progress;
  if (job.status === "queued") return "Waiting for a free worker";
  const parts = [STAGES[stage] ?? stage];
  if (fps) parts.push(`${fps.toFixed(1)} frames/s`);
  if (fps && total && total > done) parts.push(`about ${durationText((total - done) / fps)} left`);
  return parts.join(" · ");
}

/** Return what the user should know about a job, each note once: on the uploads, and on the run. */
export const notesOf = (job: Job): string[] => [...new Set([...job.notes, ...(job.report?.notes ?? [])])];

const REASONS: Record<ReviewRange["reason"], string> = {
  lost: "was not found",
  cut: "after a cut",
  uncertain: "unsure",
  area: "size jumps",
  border: "touches the edge",
  far: "far from a key frame",
};

export const reasonText = (range: ReviewRange): string => REASONS[range.reason];
