/** Starts a run, shows how far it is, and sends corrections. */

import { clearEdits } from "../state/editing";
import { cancel, run, sendCorrection } from "../state/working";
import * as state from "../state/state";
import { notesOf, progressText } from "./text";

export function RunPanel() {
  const job = state.job.value;
  return (
    <section class="panel" aria-label="Run">
      {job ? <Following /> : <Starting />}
      {state.busy.value && <p class="busy" role="status">{state.busy.value}</p>}
    </section>
  );
}

function Starting() {
  const options = state.runOptions.value;
  const change = (name: keyof typeof options, value: string | boolean): void => {
    state.runOptions.value = { ...options, [name]: value };
  };
  const ready = state.origin.value !== null && state.hasEdits.value && !state.busy.value;
  return (
    <>
      <h2>Run</h2>
      {!state.hasEdits.value && <p class="hint">Drag a box around an object, or draw it with the brush.</p>}
      <label class="choice">
        <span>Quality</span>
        <select value={options.quality} onChange={(event) => change("quality", event.currentTarget.value)}>
          <option value="fast">Fast</option>
          <option value="balanced">Balanced</option>
          <option value="best">Best</option>
        </select>
      </label>
      <label class="choice">
        <span>Frames</span>
        <select value={options.direction} onChange={(event) => change("direction", event.currentTarget.value)}>
          <option value="both">Before and after</option>
          <option value="forward">After only</option>
        </select>
      </label>
      {state.models.value.length > 1 && (
        <label class="choice">
          <span>Network</span>
          <select value={options.model} onChange={(event) => change("model", event.currentTarget.value)}>
            <option value="">Default</option>
            {state.models.value.map((model) => (
              <option key={model.name} value={model.name} title={model.summary}>
                {model.name}
              </option>
            ))}
          </select>
        </label>
      )}
      <label class="check">
        <input type="checkbox" checked={options.soft} onChange={(event) => change("soft", event.currentTarget.checked)} />
        <span>Keep soft masks, for export to NumPy</span>
      </label>
      <button type="button" class="primary wide" disabled={!ready} onClick={() => void run()}>
        Run
      </button>
    </>
  );
}

const ENDS: Record<string, string> = { succeeded: "Done", failed: "Failed", canceled: "Canceled" };

function Following() {
  const job = state.job.value;
  if (!job) return null;
  const { done, total } = job.progress;
  const sends = state.hasEdits.value;
  const hasMasks = done > 0;
  return (
    <>
      <h2>{state.running.value ? (job.corrects ? "Correcting" : "Running") : ENDS[job.status]}</h2>
      {state.running.value && (
        <>
          <progress max={total ?? 1} value={total ? done : undefined} aria-label="Masks" />
          <p>
            {done.toLocaleString("en")} of {total?.toLocaleString("en") ?? "?"} frames
          </p>
          <p role="status">{progressText(job)}</p>
          <div class="buttons">
            <button type="button" onClick={() => void cancel()}>
              Cancel
            </button>
            {!state.following.value && (
              <button type="button" class="quiet" onClick={() => (state.following.value = true)}>
                Watch the newest
              </button>
            )}
          </div>
        </>
      )}
      {!state.running.value && <Finished />}
      {sends && (
        <>
          {!hasMasks && <p class="hint">A job can be corrected once it has masks.</p>}
          <div class="buttons">
            <button
              type="button"
              class="primary"
              disabled={!!state.busy.value || !hasMasks}
              onClick={() => void sendCorrection()}
            >
              Apply correction
            </button>
            <button type="button" onClick={clearEdits}>
              Discard
            </button>
          </div>
        </>
      )}
    </>
  );
}

function Finished() {
  const job = state.job.value;
  if (!job) return null;
  return (
    <>
      <p>
        {job.progress.done.toLocaleString("en")} masks
        {job.error ? `. ${job.error.detail}` : ""}
      </p>
      {notesOf(job).map((note) => (
        <p key={note} class="hint">{note}</p>
      ))}
      {job.status === "succeeded" && (
        <button type="button" class={state.hasEdits.value ? "wide" : "primary wide"} onClick={() => (state.dialog.value = "export")}>
          Export
        </button>
      )}
    </>
  );
}
