/** What to look at after a run, the versions of a job, and the comparison of a version with the one before. */

import { goTo, goToReview } from "../state/player";
import { showVersion, undoVersion } from "../state/working";
import * as state from "../state/state";
import type { Compare } from "../state/state";
import { ShareSlider } from "./ShareSlider";
import { reasonText } from "./text";

export function ReviewPanel() {
  const job = state.job.value;
  if (!job) return null;
  return (
    <>
      {job.status === "succeeded" && <ToCheck />}
      {(state.versions.value.length > 1 || state.hasEdits.value) && <Versions />}
    </>
  );
}

function ToCheck() {
  const ranges = state.review.value;
  const names = new Map(state.objects.value.map(({ id, label }) => [id, label]));
  return (
    <section class="panel" aria-label="Frames to check">
      <h2>To check {ranges.length > 0 && <span class="count">{ranges.length}</span>}</h2>
      {!ranges.length && <p class="hint">No frame looks doubtful. Play it through all the same: the network can be sure of a wrong mask.</p>}
      {ranges.length > 0 && (
        <>
          <div class="buttons">
            <button type="button" title="Shift+N" onClick={() => goToReview(-1)}>
              Previous
            </button>
            <button type="button" title="N" onClick={() => goToReview(1)}>
              Next
            </button>
          </div>
          <ol class="ranges">
            {ranges.slice(0, 50).map((range) => {
              const here = state.frame.value >= range.from && state.frame.value < range.to;
              return (
                <li key={`${range.from}-${range.object}-${range.reason}`}>
                  <button type="button" class="range" aria-current={here} onClick={() => goTo(range.from)}>
                    <span class="numbers">
                      {range.from}–{range.to - 1}
                    </span>
                    <span>
                      {names.get(range.object) ?? `Object ${range.object}`}: {reasonText(range)}
                    </span>
                  </button>
                </li>
              );
            })}
          </ol>
        </>
      )}
      {state.versions.value.length < 2 && <p class="hint">Fix a mask with the tools, then apply the correction: it travels from there.</p>}
    </section>
  );
}

const COMPARISONS: [Compare, string][] = [["off", "Now"], ["before", "Before"], ["split", "Split"]];

function Versions() {
  const job = state.job.value;
  const { value: versions } = state.versions;
  return (
    <section class="panel" aria-label="Versions">
      <h2>Versions</h2>
      <ol class="versions">
        {versions.map((version, i) => (
          <li key={version.id}>
            <button type="button" class="range" aria-current={version.id === job?.id} onClick={() => void showVersion(version)}>
              {i === 0 ? "First run" : `Correction ${i}`}
            </button>
          </li>
        ))}
      </ol>
      <div class="segments" role="group" aria-label="Compare with the version before">
        {COMPARISONS.map(([mode, label]) => (
          <button key={mode} type="button" aria-pressed={state.compare.value === mode} onClick={() => (state.compare.value = mode)}>
            {label}
          </button>
        ))}
      </div>
      {state.compare.value === "split" && <ShareSlider label="Before | now" share={state.split} step="0.01" />}
      {job?.corrects && (
        <button type="button" disabled={!!state.busy.value} onClick={() => void undoVersion()}>
          Undo this correction
        </button>
      )}
    </section>
  );
}
