/** Play, step, and what frame is shown. */

import { revision, trackOf } from "../masks/tracks";
import { goTo, goToReview, step, togglePlay } from "../state/player";
import * as state from "../state/state";
import { IconButton } from "./icons";
import { timeText } from "./text";

const SOURCE_TEXT: Record<string, string> = {
  prompt: "given by you",
  key: "key frame: by the network",
  propagated: "along the motion",
  fallback: "without motion",
  corrected: "corrected by you",
};

export function Transport() {
  const job = state.job.value;
  void revision.value;
  const source = job && trackOf(job.id).sourceOf(state.frame.value);
  const ready = state.origin.value !== null;
  return (
    <div class="transport" role="group" aria-label="Player">
      <IconButton icon="previous" label="Frame before" keys="←" disabled={!ready} onClick={() => step(-1)} />
      <IconButton
        icon={state.playing.value ? "pause" : "play"}
        label={state.playing.value ? "Pause" : "Play"}
        keys="K"
        disabled={!ready}
        onClick={togglePlay}
      />
      <IconButton icon="next" label="Next frame" keys="→" disabled={!ready} onClick={() => step(1)} />
      <label class="frame-number">
        <span class="unseen">Frame</span>
        <input
          type="number"
          min="0"
          max={state.frameCount.value - 1}
          value={state.frame.value}
          disabled={!ready}
          onChange={(event) => goTo(Number(event.currentTarget.value))}
        />
        <span>/ {state.frameCount.value - 1}</span>
      </label>
      <span class="time">{timeText(state.frame.value / state.fps.value)}</span>
      {state.edits.value.has(state.frame.value) ? (
        <span class="source edited">edited, not sent</span>
      ) : (
        source && <span class={`source ${source}`}>{SOURCE_TEXT[source]}</span>
      )}
      <span class="grow" />
      {state.review.value.length > 0 && (
        <button type="button" class="quiet" title="Next frame to check (N)" onClick={() => goToReview(1)}>
          Next to check
        </button>
      )}
      <IconButton
        icon="motion"
        label="Show motion vectors and residual"
        keys="V"
        pressed={state.showMotion.value}
        disabled={!ready}
        onClick={() => (state.showMotion.value = !state.showMotion.value)}
      />
      <IconButton icon="fit" label="Fit the picture" keys="0" disabled={!ready} onClick={() => (state.view.value = { zoom: 1, x: 0, y: 0 })} />
      {state.view.value.zoom > 1 && <span class="zoom">{Math.round(state.view.value.zoom * 100)} %</span>}
    </div>
  );
}
