"""Files of jobs that may have to be copied from the object store before they are read.

Copying takes long, so it has threads of its own. Where the folder of a job has what counts, there is nothing to wait
for.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import anyio

from service.runtime.threads import Args, Result, in_thread
from service.storage.job_files import JobFiles
from service.storage.mask_log_view import MaskLogView
from service.storage.uploads import Uploads


async def fetch_inputs(files: JobFiles) -> JobFiles:
    """Wait until the video and the prompts of a job can be read; return its files.

    Raises:
        FileNotFoundError: The job was deleted.
        StorageUnavailableError: The object store is away.
    """
    if files.is_copy:
        await anyio.to_thread.run_sync(files.fetch)
    return files


async def fetch_masks(log: MaskLogView) -> MaskLogView:
    """Wait until all masks that count can be read; return their log.

    Raises:
        StorageUnavailableError: The object store is away.
    """
    if log.files.is_copy:
        await anyio.to_thread.run_sync(log.size)
    return log


async def in_files_thread(
    files: JobFiles | Uploads, function: Callable[Args, Result], *args: Args.args, **kwargs: Args.kwargs
) -> Result:
    """Run a function that reads or stores files of a job or uploads, briefly unless they are in an object store."""
    if not files.is_copy:
        return await in_thread(function, *args, **kwargs)
    return await anyio.to_thread.run_sync(partial(function, *args, **kwargs))
