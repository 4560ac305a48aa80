"""Opens the job store and the engine that the settings describe."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryFile

from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from service.config import Settings
from service.engine.supervisor import Supervisor
from service.engine.types import EngineConfig
from service.errors import UsageError
from service.jobs.store import JobStore
from service.run.model_loader import ModelChoice
from service.storage.job_files import Storage
from service.storage.open import open_storage
from vos.runtime.durable import make_folder


def engine_config(settings: Settings) -> EngineConfig:
    """Return the engine configuration for these settings."""
    return EngineConfig(
        devices=settings.device_list,
        model=ModelChoice(settings.model, settings.weights, precision=settings.precision),
        stall_seconds=settings.stall_seconds,
        grace_seconds=settings.grace_seconds,
        lease_seconds=settings.lease_seconds,
        settings=settings,
    )


def open_store(settings: Settings) -> tuple[JobStore, Storage]:
    """Open the job store and the files; only this user can read them.

    Raises:
        UsageError: The database cannot be opened, or the folders cannot be written.
    """
    own = settings.home / "service"
    if settings.database_url is None or settings.storage_dir is None:
        make_folder(own, 0o700)
        with suppress(PermissionError):
            own.chmod(0o700)  # others could read the folder of an earlier version
    try:
        url = make_url(settings.database)
        if url.get_backend_name() == "sqlite" and url.database and url.database != ":memory:":
            make_folder(Path(url.database).parent)
        store = JobStore(settings.database, retention=timedelta(seconds=settings.retention_seconds))
    except (SQLAlchemyError, ImportError) as error:
        raise UsageError(f"the job database cannot be opened: {error}") from error
    storage = open_storage(
        settings,
        share=settings.storage_share,
        owners=store.owners,
        lease_seconds=settings.lease_seconds,
        upload_seconds=settings.upload_seconds,
    )
    return store, storage


def check_writable(settings: Settings) -> None:
    """Check that the folders of the service can be written, before anything starts.

    Raises:
        UsageError: One of them cannot.
    """
    try:
        url = make_url(settings.database)
    except SQLAlchemyError as error:
        raise UsageError(f"KEYMASK_DATABASE_URL is not an address of a database: {error}") from None
    folders = {"KEYMASK_STORAGE_DIR" if settings.storage_dir else "KEYMASK_HOME": settings.files_dir}
    if url.get_backend_name() == "sqlite" and url.database and url.database != ":memory:":
        folders["KEYMASK_DATABASE_URL" if settings.database_url else "KEYMASK_HOME"] = Path(url.database).parent
    for name, folder in folders.items():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise UsageError(f"{name}: the folder {folder} cannot be written: {error.strerror or error}") from None


def engine_class(settings: Settings) -> type[Supervisor]:
    """Return the kind of engine that the settings ask for.

    Raises:
        UsageError: It is not installed.
    """
    if settings.engine == "local":
        return Supervisor
    if find_spec("ray") is None:
        raise UsageError("KEYMASK_ENGINE is ray, which is not installed: pip install 'keymask-server[cluster]'")
    from service.engine.ray_cluster.engine import RayEngine  # noqa: PLC0415 - not needed for local workers

    return RayEngine


@contextmanager
def open_engine(settings: Settings) -> Iterator[Supervisor]:
    """Run an engine in a process without an HTTP server; it stops at the end of the block.

    There may be a thousand such processes, so each looks after its own jobs only.
    """
    make = engine_class(settings)
    store, storage = open_store(settings)
    engine = make(replace(engine_config(settings), caretaker=False), store, storage)
    engine.start()
    try:
        yield engine
    finally:
        engine.stop()
        storage.close()
        store.close()
