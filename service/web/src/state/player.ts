/** Moves through the frames: steps, plays, follows the masks that arrive, jumps to what needs review. */

import { effect } from "@preact/signals";
import { revision, trackOf } from "../masks/tracks";
import { frameIfReady } from "../stage/frames";
import { shownWidth } from "../stage/renderer";
import * as state from "./state";

export function goTo(index: number): void {
  state.following.value = false;
  state.frame.value = Math.min(state.frameCount.value - 1, Math.max(0, Math.round(index)));
}

export function step(by: number): void {
  state.playing.value = false;
  goTo(state.frame.value + by);
}

/** Go to the next range to look at, or the one before; from the last one to the first. */
export function goToReview(direction: 1 | -1): void {
  const starts = [...new Set(state.review.value.map((range) => range.from))].sort((a, b) => a - b);
  if (!starts.length) return;
  const now = state.frame.value;
  const next = direction > 0 ? starts.find((one) => one > now) : starts.findLast((one) => one < now);
  state.playing.value = false;
  goTo(next ?? (direction > 0 ? starts[0] : starts.at(-1)) ?? now);
}

export function togglePlay(): void {
  if (state.playing.value) {
    state.playing.value = false;
    return;
  }
  state.following.value = false;
  if (state.frame.value >= state.frameCount.value - 1) state.frame.value = 0;
  state.playing.value = true;
  play();
}

/** Show frames at the rate of the video; a frame that has not arrived holds the playback up, so none is skipped unseen. */
function play(): void {
  let due = performance.now();
  const tick = (now: number): void => {
    const origin = state.origin.value;
    if (!state.playing.value || !origin) return;
    const length = 1000 / state.fps.value;
    while (now - due >= length) {
      const next = state.frame.value + 1;
      if (next >= state.frameCount.value) {
        state.playing.value = false;
        return;
      }
      if (!frameIfReady(origin, next, shownWidth())) {
        due = now; // wait for it
        break;
      }
      state.frame.value = next;
      due += length;
    }
    requestAnimationFrame(tick);
  };
  requestAnimationFrame(tick);
}

/** While a job is watched, show the newest frame that has its masks. */
export function followNewestMasks(): () => void {
  return effect(() => {
    void revision.value;
    const job = state.job.value;
    if (!job || !state.following.value) return;
    const { newest } = trackOf(job.id);
    if (newest >= 0) state.frame.value = newest;
  });
}
