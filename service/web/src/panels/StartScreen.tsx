/** Nothing is open: drop or choose a video, or try the sample. */

import { useState } from "preact/hooks";
import { begunUploads, forgetUpload } from "../api/uploads";
import { openFile, openSample } from "../state/opening";
import * as state from "../state/state";
import { Icon } from "./icons";
import { sizeText } from "./text";

export function StartScreen() {
  const [over, setOver] = useState(false);
  return (
    <main class="start-screen">
      <h1>Mark an object once. Get its mask in every frame.</h1>
      <label
        class={`drop ${over ? "over" : ""}`}
        onDragOver={(event) => {
          event.preventDefault();
          setOver(true);
        }}
        onDragLeave={() => setOver(false)}
        onDrop={(event) => {
          event.preventDefault();
          setOver(false);
          const file = event.dataTransfer?.files[0];
          if (file) void openFile(file);
        }}
      >
        <Icon name="load" />
        <strong>Drop a video here, or choose a file</strong>
        <span>MP4, MOV, MKV, WebM, AVI and more. It stays on this service.</span>
        <input
          type="file"
          class="unseen"
          accept="video/*,.mkv,.ts,.mts,.m2ts,.h264,.h265,.ivf"
          onChange={(event) => {
            const file = event.currentTarget.files?.[0];
            if (file) void openFile(file);
          }}
        />
      </label>
      <p class="start-choices">
        <button type="button" class="primary" onClick={() => void openSample()} disabled={!!state.busy.value}>
          {state.busy.value || "Try the sample clip"}
        </button>
        <button type="button" onClick={() => (state.dialog.value = "jobs")}>
          Open an earlier job
        </button>
      </p>
      <Interrupted />
      <ol class="story">
        <li><strong>Open</strong> a video. Its frames come from the service, exact in every codec.</li>
        <li><strong>Mark</strong> an object in one frame: a box is enough, a brush makes it precise.</li>
        <li><strong>Watch and correct.</strong> Masks travel while you watch; fix one frame, and the fix travels too.</li>
      </ol>
    </main>
  );
}

/** Uploads that a reload or a lost connection has cut off. The browser needs the file again: pages cannot reopen files. */
function Interrupted() {
  const [begun, setBegun] = useState(begunUploads);
  if (!begun.length) return null;
  return (
    <section class="interrupted" aria-label="Uploads that were cut off">
      {begun.map((one) => (
        <p key={one.id}>
          The upload of <strong>{one.name}</strong> ({sizeText(one.size)}) was cut off. Choose the same file again to
          continue where it stopped.{" "}
          <button
            type="button"
            class="quiet"
            onClick={() => {
              forgetUpload(one.id);
              setBegun(begunUploads());
            }}
          >
            Forget it
          </button>
        </p>
      ))}
    </section>
  );
}
