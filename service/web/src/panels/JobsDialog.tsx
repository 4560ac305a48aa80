/** The jobs of this key, newest first. */

import { useEffect, useState } from "preact/hooks";
import { deleteJob, listJobs } from "../api/jobs";
import type { Job } from "../api/types";
import { reportError } from "../state/messages";
import { mayLeave } from "../state/opening";
import { openJob } from "../state/working";
import * as state from "../state/state";
import { IconButton } from "./icons";
import { Thumbnail } from "./Thumbnail";
import { videoText } from "./text";

export function JobsDialog() {
  const [jobs, setJobs] = useState<Job[] | null>(null);
  const [cursor, setCursor] = useState<string | null>(null);
  const more = (from: string | null): void => {
    listJobs(from).then((page) => {
      setJobs((known) => [...(from && known ? known : []), ...page.jobs]);
      setCursor(page.cursor);
    }, reportError);
  };
  useEffect(() => more(null), []);
  const remove = async (id: string): Promise<void> => {
    if (!confirm("Delete this job and its masks?")) return;
    await deleteJob(id).catch(reportError);
    setJobs((known) => known?.filter((job) => job.id !== id) ?? null);
  };
  if (!jobs) return <p>Loading…</p>;
  if (!jobs.length) return <p>No jobs yet. Open a video, mark an object, and run.</p>;
  return (
    <>
      <ul class="jobs">
        {jobs.map((job) => (
          <JobRow key={job.id} job={job} onDelete={() => void remove(job.id)} />
        ))}
      </ul>
      {cursor && (
        <button type="button" onClick={() => more(cursor)}>
          Older jobs
        </button>
      )}
    </>
  );
}

function JobRow({ job, onDelete }: { job: Job; onDelete: () => void }) {
  const names = [...new Set(job.prompt.map((entry) => entry.label ?? `Object ${entry.object}`))].join(", ");
  const open = (): void => {
    if (!mayLeave()) return;
    state.dialog.value = null;
    void openJob(job.id);
  };
  return (
    <li class="job">
      <button type="button" class="job-open" onClick={open}>
        <Thumbnail job={job.id} />
        <span class="job-text">
          <strong>{names || "Job"}</strong>
          <span>{videoText(job.video)}</span>
          <span>
            {new Date(job.created_at).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" })}
            {job.corrects ? " · correction" : ""}
          </span>
        </span>
        <span class={`status ${job.status}`}>{job.status}</span>
      </button>
      <IconButton icon="close" label={`Delete the job of ${names}`} onClick={onDelete} />
    </li>
  );
}
