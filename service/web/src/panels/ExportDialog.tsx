/** Downloads of the masks in every format of the service, and the link to the job. */

import { useState } from "preact/hooks";
import { address, apiKey, request, ServiceError } from "../api/client";
import { readResultNotes } from "../api/jobs";
import { reportError, say } from "../state/messages";
import * as state from "../state/state";
import { Icon } from "./icons";

interface Format {
  format: string;
  label: string;
  text: string;
  /** Whether it is a video: it takes long to make, and may lose something of the source. */
  isVideo?: true;
  /** Whether it holds soft masks, which a job only keeps with the option `soft`. */
  isSoft?: true;
}

const FORMATS: [heading: string, formats: Format[]][] = [
  ["For compositing", [
    { format: "prores4444", label: "ProRes 4444", text: "The objects cut out, with alpha (MOV)", isVideo: true },
    { format: "vp9-alpha", label: "VP9 with alpha", text: "The objects cut out, for the web (WebM)", isVideo: true },
    { format: "matte", label: "Luma matte", text: "White objects on black (MP4)", isVideo: true },
    { format: "binary-png", label: "PNG sequence per object", text: "Black and white, one folder each (zip)" },
  ]],
  ["For training, labelling and looking", [
    { format: "png", label: "Indexed PNGs", text: "Object ids with the DAVIS palette (zip)" },
    { format: "coco", label: "COCO, run lengths", text: "Instances per frame, for CVAT too (JSON)" },
    { format: "polygons", label: "COCO, polygons", text: "Outlines per frame (JSON)" },
    { format: "ytvis", label: "YouTube-VIS", text: "Tracks (JSON)" },
    { format: "labelstudio", label: "Label Studio, boxes", text: "Boxes over time (JSON)" },
    { format: "labelstudio-brush", label: "Label Studio, brush", text: "A task with masks per frame (JSON)" },
    { format: "npz", label: "Soft masks", text: "Probabilities, a NumPy array per object and frame", isSoft: true },
    { format: "overlay", label: "Overlay", text: "The video with coloured masks, to look at (MP4)", isVideo: true },
  ]],
];

export function ExportDialog() {
  const job = state.job.value;
  if (!job) return null;
  return (
    <div class="export">
      {FORMATS.map(([heading, formats]) => (
        <section key={heading}>
          <h3>{heading}</h3>
          <ul>
            {formats.filter(({ isSoft }) => !isSoft || job.options.soft).map((one) => (
              <li key={one.format}>
                <Download job={job.id} {...one} />
              </li>
            ))}
          </ul>
        </section>
      ))}
      <button type="button" class="quiet" onClick={() => void copyLink()}>
        <Icon name="link" /> Copy the link to this job
      </button>
    </div>
  );
}

/** Downloads a format. A video is waited for first, so that its notes, or the reason why it cannot be made, are shown. */
function Download({ job, format, label, text, isVideo }: Format & { job: string }) {
  const [busy, setBusy] = useState(false);
  const [notes, setNotes] = useState<string[]>([]);
  const path = `v1/jobs/${job}/result?format=${format}`;
  const save = async (): Promise<void> => {
    setBusy(true);
    try {
      if (isVideo) setNotes(await readResultNotes(job, format));
      await (apiKey.value ? saveWithKey(path, `${job}-${format}`) : follow(address(path), ""));
    } catch (error) {
      if (error instanceof ServiceError && error.status !== 401) setNotes([error.message]);
      else reportError(error);
    } finally {
      setBusy(false);
    }
  };
  return (
    <>
      <button type="button" class="format" disabled={busy} data-format={format} onClick={() => void save()}>
        <strong>{label}</strong>
        <span>{busy ? "Being made…" : text}</span>
      </button>
      <div role="status">
        {notes.map((note) => (
          <p key={note} class="hint">{note}</p>
        ))}
      </div>
    </>
  );
}

/** Download with a request that carries the key, which links cannot. */
async function saveWithKey(path: string, otherwise: string): Promise<void> {
  const answer = await request(path);
  const name = /filename="([^"]+)"/.exec(answer.headers.get("Content-Disposition") ?? "")?.[1] ?? otherwise;
  const url = URL.createObjectURL(await answer.blob());
  follow(url, name);
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** Let the browser download what is at an address. */
function follow(href: string, download: string): void {
  const link = document.createElement("a");
  Object.assign(link, { href, download });
  link.click();
}

async function copyLink(): Promise<void> {
  const link = `${address("")}#job=${state.job.value?.id}`;
  try {
    await navigator.clipboard.writeText(link);
    say("The link is copied. Whoever may use this service can open it.");
  } catch {
    say(link); // pages that are not served over HTTPS may not use the clipboard
  }
}
