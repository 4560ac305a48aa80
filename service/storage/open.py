"""Opens the storage that the settings describe: a folder, or an object store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from service.config import Settings
from service.storage.job_files import Storage

_OBJECTS_QUOTA = 1 << 40
"""Largest size of all objects if no quota is set; a folder may use a share of its disk."""


def open_storage(settings: Settings, *, root: Path | None = None, **limits: Any) -> Storage:
    """Open the files of the service.

    Args:
        settings: The settings.
        root: Folder of the files that the process that started this one uses; None: as the settings say.
        limits: Further arguments of `Storage`.

    Raises:
        UsageError: `KEYMASK_STORAGE` cannot be used.
    """
    if settings.storage is None:
        return Storage(root or settings.files_dir, quota=settings.storage_quota, **limits)
    # An extra; whoever keeps the files in a folder does not need it.
    from service.storage.objects.job_objects import JobObjects  # noqa: PLC0415
    from service.storage.objects.object_storage import ObjectStorage  # noqa: PLC0415
    from service.storage.objects.object_store import open_object_store  # noqa: PLC0415

    objects = JobObjects(open_object_store(settings.storage, check=root is None))
    quota = settings.storage_quota or _OBJECTS_QUOTA
    return ObjectStorage(settings.files_dir, objects, root=root, quota=quota, **limits)
