/** Opens a video: a file, the sample, an upload or the video of a job. The address of the page says which is open. */

import { request } from "../api/client";
import { readModels, readProbe, readVideo } from "../api/jobs";
import { forgetUpload, offsetOf, uploadFile } from "../api/uploads";
import { reset, setAddress, showVideo } from "./clip";
import { attempt, reportError, say } from "./messages";
import * as state from "./state";
import { openJob } from "./working";

/** Upload a file and open it; its first frame is shown from the file meanwhile, where the browser can decode it. */
export async function openFile(file: File): Promise<void> {
  const { signal } = reset();
  state.clipName.value = file.name;
  state.localFile.value = file;
  state.upload.value = { sent: 0, total: file.size, waiting: false };
  const update = (change: { sent?: number; waiting?: boolean }): void => {
    if (!signal.aborted && state.upload.value) state.upload.value = { ...state.upload.value, ...change };
  };
  try {
    const id = await uploadFile(file, {
      signal,
      onProgress: (sent) => update({ sent }),
      onWaiting: (waiting) => update({ waiting }),
    });
    await showUpload(id, signal);
  } catch (error) {
    if (signal.aborted) return;
    state.upload.value = null;
    state.localFile.value = null;
    reportError(error);
  }
}

export async function openSample(): Promise<void> {
  await attempt("Fetching the sample…", async () => {
    const sample = await (await request("v1/sample")).blob();
    void openFile(new File([sample], "sample.mp4", { type: "video/mp4", lastModified: 0 }));
  });
}

async function showUpload(id: string, signal: AbortSignal): Promise<void> {
  const video = await readVideo(id);
  if (signal.aborted) return;
  showVideo({ kind: "upload", id }, video);
  state.upload.value = null;
  state.localFile.value = null;
  setAddress(`upload=${id}`);
  readProbe(id, signal).then(
    (probe) => {
      state.probe.value = probe;
      if (state.video.value && probe.frames) state.video.value = { ...state.video.value, frames: probe.frames };
    },
    () => undefined, // the video itself is there; what probe says of it is an extra
  );
}

/** Ask before masks are lost that were drawn and not sent. */
export const mayLeave = (): boolean =>
  !state.hasEdits.value || confirm("Leave this video? Masks that you have drawn and not sent are lost.");

/** Stop the upload or leave the video, and forget it. */
export async function closeVideo(): Promise<void> {
  const origin = state.origin.value;
  reset();
  setAddress("");
  if (origin?.kind === "upload") {
    forgetUpload(origin.id);
    await request(`v1/uploads/${origin.id}`, { method: "DELETE", headers: { "Tus-Resumable": "1.0.0" } }).catch(() => undefined);
  }
}

/** Open what the address of the page names: `#job=...` or `#upload=...`. */
export async function openAddress(): Promise<void> {
  const [kind, id] = location.hash.slice(1).split("=");
  if (!id || state.origin.value?.id === id || state.job.value?.id === id) return;
  if (kind === "job") await openJob(id);
  else if (kind === "upload") {
    const { signal } = reset();
    await attempt("Opening the video…", async () => {
      if ((await offsetOf(id)) === null) {
        setAddress("");
        return say("That upload is no longer kept. Open the video again.");
      }
      state.clipName.value = "Uploaded video";
      await showUpload(id, signal);
    });
  }
}

export async function loadModels(): Promise<void> {
  try {
    state.models.value = (await readModels()).filter((model) => model.available);
  } catch (error) {
    reportError(error);
  }
}
