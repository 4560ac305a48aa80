/** The video that is open, and the part of the page's address that names it. */

import type { Origin } from "../api/jobs";
import type { Video } from "../api/types";
import { keepTracks } from "../masks/tracks";
import { clearEdits, newObject } from "./editing";
import * as state from "./state";

let opening = new AbortController();

/** Show nothing of the video before; return what stops the work for the new one. */
export function reset(): AbortController {
  opening.abort();
  opening = new AbortController();
  clearEdits();
  keepTracks([]);
  state.origin.value = null;
  state.localFile.value = null;
  state.video.value = null;
  state.probe.value = null;
  state.upload.value = null;
  state.job.value = null;
  state.versions.value = [];
  state.review.value = [];
  state.compare.value = "off";
  state.playing.value = false;
  state.following.value = false;
  state.showMotion.value = false;
  state.frame.value = 0;
  state.view.value = { zoom: 1, x: 0, y: 0 };
  state.objects.value = [newObject(1)];
  state.selected.value = 1;
  state.message.value = null;
  return opening;
}

export function showVideo(origin: Origin, video: Video): void {
  state.video.value = video;
  state.origin.value = origin;
}

export function setAddress(hash: string): void {
  history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search);
}
