"""A job store, a folder of files, and supervisors with real worker processes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from service.engine.supervisor import Supervisor
from service.engine.types import EngineConfig
from service.jobs.store import JobStore
from service.jobs.types import Job, JobStatus, JobVideo, new_job_id
from service.run.options import JobOptions
from service.storage.job_files import JobFiles, Storage
from tests.support.waiting import wait_for
from vos.runtime.durable import is_part

FRAMES = 30
SIZE = (64, 48)


@dataclass
class Site:
    """A job store, a folder of files, and the engines that work on them."""

    root: Path
    clip: bytes
    config: EngineConfig
    engines: list[Supervisor] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = JobStore(f"sqlite:///{self.root}/jobs.db")
        self.storage = Storage(self.root / "files", reserve=0)

    @property
    def home(self) -> Path:
        """Folder of `behaviour.json` (see `tests.support.fakes`)."""
        return self.config.settings.home

    def start(self, **changes: Any) -> Supervisor:
        """Start an engine and wait until it is ready."""
        engine = Supervisor(replace(self.config, **changes), self.store, self.storage)
        self.engines.append(engine)
        engine.start()
        wait_for(lambda: engine.ready)
        return engine

    def submit(
        self, engine: Supervisor | None = None, video: bytes | None = None, frames: int = FRAMES, **options: Any
    ) -> Job:
        """Create a job with its files, as the API does; `frames` is the number of frames that the API assumes."""
        job_id = new_job_id()
        with self.storage.upload() as upload:
            upload.video.write_bytes(self.clip if video is None else video)
            labels = np.zeros(SIZE[::-1], np.uint8)
            labels[10:30, 10:30] = 7
            picture = Image.frombytes("P", SIZE, labels.tobytes())
            picture.putpalette(list(range(256)) * 3)
            picture.save(upload.mask)
            self.storage.adopt(upload, job_id)
        about = JobVideo("h264", *SIZE, 25.0, frames, frames / 25, 0)
        job = Job(job_id, JobOptions(**options), about, "0" * 64, datetime.now(UTC))
        self.store.create(job)
        if engine is not None:
            engine.wake()
        return job

    def files(self, job: Job) -> JobFiles:
        """Return the files of a job."""
        return self.storage.job(job.id)

    def lines(self, job: Job) -> int:
        """Return the number of lines in the mask log of a job."""
        return self.masks(job).count(b"\n")

    def masks(self, job: Job) -> bytes:
        """Return what counts of the mask log of a job, read from the files that its row lists."""
        content = b""
        for segment in self.store.get(job.id).segments:
            path = self.files(job).mask_log(segment.fence)
            content += path.read_bytes()[: segment.bytes] if path.exists() else b""
        return content

    def finished(self, job: Job) -> Job:
        """Wait until a job is finished and return it."""
        found: Job = wait_for(lambda: (now := self.store.get(job.id)).status.finished and now)
        return found

    def expected(self, engine: Supervisor) -> bytes:
        """Run a job and return its mask log, which is that of an uninterrupted run."""
        job = self.submit(engine)
        assert self.finished(job).status is JobStatus.SUCCEEDED
        return self.masks(job)

    def is_tidy(self) -> bool:
        """Return whether every job folder has a row, and no upload, state, walk or temporary file is left."""
        ids = self.storage.job_ids()
        files = (self.root / "files").rglob("*")
        leftovers = [p for p in files if is_part(p.name) or p.name.startswith(("state", "walk"))]
        uploads = list((self.root / "files" / "incoming").glob("*/*"))
        return self.store.known(ids) == set(ids) and not leftovers and not uploads
