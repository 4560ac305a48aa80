/** The first frame of a job's video, small. */

import { useEffect, useState } from "preact/hooks";
import { request } from "../api/client";

export function Thumbnail({ job }: { job: string }) {
  const [url, setUrl] = useState("");
  useEffect(() => {
    let made = "";
    const stop = new AbortController();
    request(`v1/jobs/${job}/frames/0?width=160`, { headers: { Accept: "image/jpeg" }, signal: stop.signal })
      .then(async (answer) => setUrl((made = URL.createObjectURL(await answer.blob()))))
      .catch(() => undefined); // a job that failed may have no frames
    return () => {
      stop.abort();
      URL.revokeObjectURL(made);
    };
  }, [job]);
  return url ? <img class="thumbnail" src={url} alt="" /> : <span class="thumbnail" />;
}
