"""The synchronous client; `async_client` is its twin for asyncio."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Literal, Unpack

import httpx

from keymask.errors import (
    ConflictError,
    JobCanceledError,
    JobFailedError,
    KeymaskError,
    NotFoundError,
    WaitTimeoutError,
)
from keymask.marks import Box, JobOptions, Mark, Marks, Point, correction
from keymask.mask_file import MaskLike
from keymask.models import Frame, Job, JobStatus, Model, Probe, PromptMask
from keymask.progress import ProgressOption, reporter
from keymask.protocol import (
    POLL_SECONDS,
    Call,
    JobLike,
    Upload,
    UploadedVideo,
    VideoFile,
    VideoLike,
    WebhookLike,
    advanced,
    cancel_call,
    check_ended,
    correction_call,
    frame_of,
    has_all,
    job_path,
    jobs_of,
    models_of,
    parsed,
    prompt_call,
    submission,
    versions_of,
)
from keymask.results import Results
from keymask.sending.connection import Cert, Proxy, Verify, client_arguments, opened
from keymask.sending.retry import Retry
from keymask.sending.upload import ChunkedUpload
from keymask.track import Track


class Client(Results):
    """A connection to a keymask service; use it in `with`, or call `close`.

    Args:
        base_url: URL of the service; by default KEYMASK_URL or http://localhost:8000.
        api_key: API key; by default KEYMASK_API_KEY.
        timeout: Seconds to wait for the service to send anything.
        retries: Retries after a lost connection, 429, 502, 503 or 504. Calls that follow a job are retried for a minute
            instead, unless this is 0.
        verify: False trusts any certificate of the service; a path names a file or folder of authorities to trust.
        cert: Client certificate: a file with certificate and key, or the two files, or the two and the key's password.
        proxy: URL of a proxy for all requests; by default the environment decides (HTTPS_PROXY and so on).
        transport: httpx transport, for tests.

    Raises:
        InvalidArgumentError: The URL, the key or the proxy cannot be used.
        OSError: A certificate cannot be read.
    """

    def __init__(
        self,
        base_url: str | None = None,
        *,
        api_key: str | None = None,
        timeout: float = 60.0,
        retries: int = 4,
        verify: Verify = True,
        cert: Cert | None = None,
        proxy: Proxy | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        arguments = client_arguments(
            base_url, api_key, timeout=timeout, transport=transport, verify=verify, cert=cert, proxy=proxy
        )
        self._http = opened(httpx.Client, arguments)
        self._timeout = timeout
        self._retries = retries

    def segment(
        self,
        video: VideoLike,
        mask: MaskLike | None = None,
        *,
        progress: ProgressOption = False,
        **options: Unpack[JobOptions],
    ) -> Track:
        """Upload a video and the mask of one frame, wait, and return all masks.

        The job is canceled if this call is interrupted, for example by Ctrl-C.

        Args:
            video: Path, bytes or binary file object of a video; or its URL, "https://..." or "s3://...", if the
                service reads from there.
            mask: Path or bytes of a picture, PIL image, or array, such as object ids [height, width]. Without it,
                `prompt`, `prompts`, `box` or `boxes` marks the objects.
            progress: True shows a line on the terminal; a function is called with the job at every change.
            **options: See `Options` and, for boxes and points, `Marks`; what is left out is left to the service.

        Raises:
            InputRefusedError: The service cannot use the video, the mask or an option.
            JobFailedError, JobCanceledError: The job did not succeed.
        """
        job = self.submit(video, mask, **options)
        with self._canceled_unless_done(job):
            return self.track(job, progress=progress)

    def track(self, job: JobLike, *, progress: ProgressOption = False) -> Track:
        """Wait for a job to succeed, and return all its masks.

        Raises:
            JobFailedError, JobCanceledError: The job did not succeed.
        """
        report = reporter(progress)
        current, frames = job if isinstance(job, Job) else self.get(job), []
        for frame in self.masks(current):
            frames.append(frame)
            report(advanced(current, len(frames)))
        current = self.get(current)
        report(current)
        return Track(current, tuple(frames))

    def stream(self, video: VideoLike, mask: MaskLike | None = None, **options: Unpack[JobOptions]) -> Generator[Frame]:
        """Upload a video and a mask, and yield masks as they are computed; arguments as for `segment`.

        The job is canceled if the iterator is closed or deleted before its end, for example by `break`.
        """
        job = self.submit(video, mask, **options)
        with self._canceled_unless_done(job):
            yield from self.masks(job)

    def submit(
        self,
        video: VideoLike,
        mask: MaskLike | None = None,
        *,
        idempotency_key: str | None = None,
        prefer_wait: int | None = None,
        webhook: WebhookLike | None = None,
        **options: Unpack[JobOptions],
    ) -> Job:
        """Upload a video and a mask, and return the queued job.

        Args:
            video: As for `segment`.
            mask: As for `segment`.
            idempotency_key: A repeated submission with the same key and files returns the same job.
            prefer_wait: Seconds, at most 60, that the service may wait for the job to end before it responds.
            webhook: URL that the service tells when the job ends, or {"url": ..., "events": [...]}.
            **options: See `Options` and, for boxes and points, `Marks`; what is left out is left to the service.
        """
        return self._job(submission(video, mask, options, idempotency_key, prefer_wait, webhook=webhook))

    def get(self, job: JobLike) -> Job:
        """Return the current state of a job."""
        return self._job(Call("GET", job_path(job)))

    def jobs(self, *, status: JobStatus | str | None = None, limit: int | None = None) -> Iterator[Job]:
        """Yield all jobs, newest first; pages are fetched as needed."""
        wanted = status.value if isinstance(status, JobStatus) else status
        cursor = None
        while True:
            call = Call("GET", "/v1/jobs", {"status": wanted, "limit": limit, "cursor": cursor})
            page, cursor = jobs_of(self._send(call))
            yield from map(self._bound, page)
            if cursor is None:
                return

    def wait(self, job: JobLike, *, timeout: float | None = None, progress: ProgressOption = False) -> Job:
        """Wait for a job to succeed.

        Raises:
            JobFailedError, JobCanceledError: The job ended without success.
            WaitTimeoutError: The job has not ended after `timeout` seconds; it continues.
        """
        report = reporter(progress)
        deadline = None if timeout is None else time.monotonic() + timeout
        pause, longest = POLL_SECONDS
        retry = self._following(timeout)
        while True:
            current = self._job(Call("GET", job_path(job)), retry)
            report(current)
            if current.status.ended:
                return check_ended(current)
            if deadline is not None and time.monotonic() + pause > deadline:
                raise WaitTimeoutError(f"job {current.id} is still {current.status.value} after {timeout} s")
            time.sleep(pause)
            pause = min(longest, 1.5 * pause)

    def masks(self, job: JobLike, *, start: int | None = None, end: int | None = None) -> Iterator[Frame]:
        """Yield the masks of a job in presentation order, also while it runs; a lost connection is resumed.

        Args:
            job: The job.
            start: First frame; by default the first one that has a mask.
            end: Frame to stop before; by default the end of the job.

        Raises:
            JobFailedError, JobCanceledError: The job ended without success; all masks before that have been yielded.
        """
        retry = self._following()
        current = self._job(Call("GET", job_path(job)), retry)
        while True:
            call = Call("GET", job_path(current, "masks"), {"from": start, "to": end})
            try:
                with self._open(call, retry) as response:
                    for line in response.iter_lines():
                        frame = frame_of(line, current, response)
                        start = frame.index + 1
                        retry.succeeded()
                        yield frame
            except httpx.TransportError as error:
                time.sleep(retry.after_failure(error))
                continue
            had_ended, current = current.status.ended, self._job(Call("GET", job_path(job)), retry)
            # A service that stops ends its streams, and a job may end while no stream is open.
            if had_ended or has_all(current, start):
                check_ended(current)
                return
            if end is not None and start is not None and start >= end:
                return

    def cancel(self, job: JobLike) -> Job:
        """Ask the service to cancel a job."""
        return self._job(Call("POST", job_path(job, "cancel")))

    def delete(self, job: JobLike) -> None:
        """Cancel a job if it runs, and delete it with all its files."""
        retry = Retry(self._retries)
        try:
            self._send(Call("DELETE", job_path(job)), retry)
        except NotFoundError:
            if not retry.perhaps_done:
                raise

    def correct(
        self,
        job: JobLike,
        prompt: Sequence[Mark] | None = None,
        *,
        frame: int | None = None,
        object: int | None = None,
        mask: MaskLike | None = None,
        box: Box | None = None,
        points: Sequence[Point] | None = None,
        absent: bool = False,
        label: str | None = None,
        idempotency_key: str | None = None,
        webhook: WebhookLike | Literal[False] | None = None,
    ) -> Job:
        """Correct the masks of a job: say what objects are on one of its frames, or on several.

        Only frames that the correction can change are computed; the job itself stays as it is.

        Args:
            job: A job that has succeeded.
            prompt: Any number of objects on any frames, in place of the other arguments.
            frame: The frame to correct, counted from 0.
            object: Id of the object, 1 to 255; one that the job does not have is added. Object 1 by default; for a mask
                of object ids, all objects in it.
            mask: Mask of the object, or object ids: array [height, width], PIL image, or path or bytes of a picture,
                which Pillow reads. Pixels that are 0 change no other object.
            box: Box around the object: x, y, width and height in pixels.
            points: x, y, and 1 for a point on the object or 0 beside it.
            absent: True if the object is not in the frame.
            label: Name of the object.
            idempotency_key: As for `submit`.
            webhook: As for `submit`; by default that of the job, False for none.

        Returns:
            The correction, which is a job of its own, queued; `track` returns its masks.

        Raises:
            ConflictError: The job has not succeeded.
            InputRefusedError: The service cannot use the correction.
        """
        text = correction(
            prompt, frame=frame, object=object, mask=mask, box=box, points=points, absent=absent, label=label
        )
        return self._job(correction_call(job, text, idempotency_key, webhook))

    def versions(self, job: JobLike) -> list[Job]:
        """Return the first job and all its corrections that exist, the oldest first."""
        return [self._bound(found) for found in versions_of(self._send(Call("GET", job_path(job, "versions"))))]

    def undo(self, job: JobLike) -> Job:
        """Delete a correction, stop it if it runs, and return the job that it corrects.

        Raises:
            ConflictError: The job corrects no other job, or that one was deleted or has expired.
        """
        return self._job(Call("POST", job_path(job, "undo")))

    def upload(self, video: VideoFile) -> UploadedVideo:
        """Upload a large video in chunks; a lost connection costs one chunk at most. `submit` takes the result.

        Args:
            video: Path, bytes, or seekable binary file object.

        Raises:
            ConnectionFailedError: The service has been unreachable for a minute.
        """
        upload = ChunkedUpload(video)
        try:
            upload.begun(self._send(upload.begin_call()))
            while not upload.is_complete:
                try:
                    upload.sent(self._send(upload.chunk_call(), self._following()))
                except ConflictError as conflict:  # an earlier attempt has arrived in part
                    upload.resumed(self._send(upload.state_call(), self._following()), conflict)
            return upload.finish()
        finally:
            upload.close()

    def probe(self, video: VideoFile) -> Probe:
        """Report what a video's bitstream offers, without running a network."""
        return parsed(Probe, self._send(Call("POST", "/v1/probe", upload=Upload(video))))

    def prompt(self, video: VideoLike, **marks: Unpack[Marks]) -> PromptMask:
        """Make the mask of one frame from boxes and points; `segment` takes its `mask`, or the same boxes and points.

        Args:
            video: Path, bytes or binary file object of a video.
            **marks: `prompt`, `box` or `boxes`, see `Marks`.

        Raises:
            InputRefusedError: The service cannot use the video or the marks, or finds no object.
        """
        return parsed(PromptMask, self._send(prompt_call(video, marks)))

    def models(self) -> list[Model]:
        """List the networks of the service."""
        return models_of(self._send(Call("GET", "/v1/models")))

    @contextmanager
    def _canceled_unless_done(self, job: Job) -> Iterator[None]:
        """Cancel the job if the block ends early: its caller does not know the id."""
        try:
            yield
        except (JobFailedError, JobCanceledError):
            raise
        except BaseException:
            with suppress(KeymaskError, RuntimeError):  # a RuntimeError if the client is closed
                self._send(cancel_call(job), Retry(0))
            raise
