/** What is known of the video: the progress of its upload, then what its bitstream offers. */

import * as state from "../state/state";
import { probeText, sizeText, videoText } from "./text";

export function VideoPanel() {
  const upload = state.upload.value;
  const video = state.video.value;
  return (
    <section class="panel" aria-label="Video">
      {upload && (
        <>
          <h2>Uploading</h2>
          <progress max={upload.total} value={upload.sent} aria-label="Upload" />
          <p>
            {sizeText(upload.sent)} of {sizeText(upload.total)}
            {upload.waiting && ". The connection is lost; the upload continues when it is back."}
          </p>
        </>
      )}
      {video && <p class="facts">{videoText(video)}</p>}
      {state.probe.value && (
        <details>
          <summary>What the bitstream offers</summary>
          {probeText(state.probe.value).map((line) => (
            <p key={line}>{line}</p>
          ))}
        </details>
      )}
    </section>
  );
}
