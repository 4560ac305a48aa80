/** Downloads of the masks in every format of the service, and the link to the job. */

import { useState } from "preact/hooks";
import { address, apiKey, request } from "../api/client";
import { reportError, say } from "../state/messages";
import * as state from "../state/state";
import { Icon } from "./icons";

interface Format {
  format: string;
  label: string;
  text: string;
}

const FORMATS: [heading: string, formats: Format[]][] = [
  ["For compositing", [
    { format: "prores4444", label: "ProRes 4444", text: "The objects cut out, with alpha (MOV)" },
    { format: "vp9-alpha", label: "VP9 with alpha", text: "The objects cut out, for the web (WebM)" },
    { format: "matte", label: "Luma matte", text: "White objects on black (MP4)" },
    { format: "binary-png", label: "PNG sequence per object", text: "Black and white, one folder each (zip)" },
  ]],
  ["For training, labelling and looking", [
    { format: "png", label: "Indexed PNGs", text: "Object ids with the DAVIS palette (zip)" },
    { format: "coco", label: "COCO, run lengths", text: "Instances per frame (JSON)" },
    { format: "polygons", label: "COCO, polygons", text: "Outlines per frame (JSON)" },
    { format: "ytvis", label: "YouTube-VIS", text: "Tracks (JSON)" },
    { format: "labelstudio", label: "Label Studio, boxes", text: "Boxes over time (JSON)" },
    { format: "labelstudio-brush", label: "Label Studio, brush", text: "A task with masks per frame (JSON)" },
    { format: "overlay", label: "Overlay", text: "The video with coloured masks, to look at (MP4)" },
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
            {formats.map((one) => (
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

/** A link where no key is needed, so that the browser downloads by itself; otherwise a request that carries the key. */
function Download({ job, format, label, text }: Format & { job: string }) {
  const [busy, setBusy] = useState(false);
  const path = `v1/jobs/${job}/result?format=${format}`;
  const content = (
    <>
      <strong>{label}</strong>
      <span>{busy ? "Being made…" : text}</span>
    </>
  );
  if (!apiKey.value) {
    return (
      <a class="format" href={address(path)} download data-format={format}>
        {content}
      </a>
    );
  }
  const save = async (): Promise<void> => {
    setBusy(true);
    try {
      const answer = await request(path);
      const name = /filename="([^"]+)"/.exec(answer.headers.get("Content-Disposition") ?? "")?.[1] ?? `${job}-${format}`;
      saveBlob(await answer.blob(), name);
    } catch (error) {
      reportError(error);
    } finally {
      setBusy(false);
    }
  };
  return (
    <button type="button" class="format" disabled={busy} data-format={format} onClick={() => void save()}>
      {content}
    </button>
  );
}

function saveBlob(blob: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
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
