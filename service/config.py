"""Settings from the environment, which no other file reads.

The field `name` of `Settings` is the variable `KEYMASK_NAME`; `settings_table` makes `docs/reference/settings.md`.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, ByteSize, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from service.errors import UsageError

PREFIX = "KEYMASK_"
PATH_PREFIX = re.compile(r"(?:/[\w.~-]{1,64}){1,8}", re.ASCII)
"""A path under which a proxy may offer the service."""
_OTHER_VARIABLES = {"KEYMASK_URL", "KEYMASK_API_KEY", "KEYMASK_SHARED_DIR"}
"""Variables that the Python client and the tests read."""
_CREDENTIAL_FILES = ("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
"""Variables with the path of a file that libraries of object stores read."""
_TRACES = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
"""Variables with the address of a collector of traces, which OpenTelemetry's library reads."""
_LIBRARY_VARIABLES = (
    "HOME", "LANG", "LC_", "TZ", "TMPDIR", "XDG_CACHE_HOME", "LD_LIBRARY_PATH", "NUMBA_", "OMP_", "OPENBLAS_",
    "MALLOC_",
)  # fmt: skip
"""Beginnings of names."""


def _home() -> Path:
    data_home = os.environ.get("XDG_DATA_HOME")
    return (Path(data_home) if data_home else Path("~/.local/share")) / "keymask"


def _check_networks(text: str) -> str:
    for item in _items(text):
        ipaddress.ip_network(item)
    return text


def _check_prefix(text: str) -> str:
    prefix = text.rstrip("/")
    if prefix and not PATH_PREFIX.fullmatch(prefix):
        raise ValueError("it must be a path such as /keymask")
    return prefix


class Settings(BaseSettings):
    """Settings of a process; frozen."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="forbid")

    home: Annotated[Path, AfterValidator(Path.expanduser)] = Field(
        default_factory=_home,
        description="folder for pulled weights and for the service's database and files",
        json_schema_extra={"shown": "`$XDG_DATA_HOME/keymask`, else `~/.local/share/keymask`"},
        validate_default=True,
    )
    debug: Annotated[bool, Field(description="show the traceback of an unexpected error (command line, log)")] = False

    host: Annotated[str, Field(description="address to listen on")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535, description="port to listen on; 0: any free one")] = 8000
    auth: Annotated[
        Literal["auto", "required", "off"],
        Field(
            description="whether requests need an API key: `auto` requires one where keys are set, and refuses to "
            "listen beyond this machine without keys; `off` never requires one"
        ),
    ] = "auto"
    published: Annotated[
        str | None,
        Field(
            description="address at which a container's port is published, such as 127.0.0.1:8000; it then decides "
            "whether the service listens beyond this machine"
        ),
    ] = None
    trust_network: Annotated[
        bool,
        Field(
            description="with `KEYMASK_AUTH=off`, listen beyond this machine: everybody who can reach the port can use "
            "the service and read all jobs"
        ),
    ] = False
    api_keys: Annotated[
        SecretStr | None,
        Field(description="API keys as `name:sha256`, separated by commas; `keymask keys new NAME` makes one"),
    ] = None
    api_keys_file: Annotated[
        Path | None,
        Field(
            description="file with further API keys, one `name:sha256` per line; changes take effect within a second"
        ),
    ] = None
    cors_origins: Annotated[str, Field(description="origins whose pages may call the service, separated by commas")] = (
        ""
    )
    trusted_proxies: Annotated[
        str,
        AfterValidator(_check_networks),
        Field(
            description="addresses and networks of proxies in front of the service, separated by commas; from them, "
            "`X-Forwarded-For`, `-Proto` and `-Prefix` count"
        ),
    ] = ""
    root_path: Annotated[
        str,
        AfterValidator(_check_prefix),
        Field(
            description="path under which a proxy offers the service, such as /keymask; part of `Location` and links"
        ),
    ] = ""
    allowed_hosts: Annotated[
        str,
        Field(
            description="names under which the service answers besides localhost and addresses, separated by commas; "
            "`*`: any. If none are set and keys are required, any"
        ),
    ] = ""
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Field(description="lowest level that is logged")
    ] = "info"

    database_url: Annotated[
        str | None, Field(description="SQLAlchemy URL of the jobs; by default SQLite in `KEYMASK_HOME`/service/jobs.db")
    ] = None
    storage_dir: Annotated[
        Path | None, Field(description="folder of videos and masks; by default `KEYMASK_HOME`/service/files")
    ] = None
    storage: Annotated[
        str | None,
        Field(
            description="object store of videos and masks, such as s3://bucket/prefix; its endpoint, region and "
            "credentials are those of the variables `AWS_*`. `KEYMASK_STORAGE_DIR` then only has copies"
        ),
    ] = None
    storage_redirects: Annotated[
        bool,
        Field(description="redirect downloads of results to the object store, with a URL that holds for five minutes"),
    ] = False
    storage_quota: Annotated[
        ByteSize | None,
        Field(
            description="largest size of all jobs, uploads and results together, such as 50GiB",
            json_schema_extra={"shown": "80% of the disk; 1 TiB in an object store"},
        ),
    ] = None
    storage_share: Annotated[
        float, Field(gt=0, le=1, description="largest share of that size for the jobs and uploads of one API key")
    ] = 0.5
    retention_seconds: Annotated[
        float, Field(gt=0, description="how long a finished job and its files are kept, in seconds")
    ] = 86400.0

    max_upload_bytes: Annotated[ByteSize, Field(gt=0, description="largest video file")] = ByteSize(2 << 30)
    max_mask_bytes: Annotated[ByteSize, Field(gt=0, description="largest mask file")] = ByteSize(32 << 20)
    max_pixels: Annotated[int, Field(gt=0, description="largest number of pixels per picture of a video")] = 4096 * 2304
    max_frames: Annotated[int, Field(gt=0, description="largest number of frames of a video")] = 108_000
    max_duration_seconds: Annotated[float, Field(gt=0, description="longest duration of a video, in seconds")] = 3600.0
    max_mask_log_bytes: Annotated[
        ByteSize, Field(gt=0, description="largest size of all masks of a job, run-length encoded")
    ] = ByteSize(4 << 30)
    max_objects: Annotated[int, Field(ge=1, le=255, description="largest number of objects in a mask")] = 50
    job_seconds: Annotated[
        float,
        Field(
            gt=0,
            description="how long workers may spend on a job in all its attempts, in seconds; a job that would clearly "
            "take longer is refused",
        ),
    ] = 21600.0
    max_queued_jobs: Annotated[int, Field(ge=0, description="largest number of waiting jobs")] = 100
    max_jobs_per_key: Annotated[
        int, Field(ge=1, description="largest number of unfinished jobs per API key, or of all callers without keys")
    ] = 50
    max_followers: Annotated[
        int, Field(ge=1, description="largest number of open event and mask streams and downloads of results")
    ] = 1000
    max_followers_per_key: Annotated[
        int,
        Field(ge=1, description="largest number of open streams per API key, or per address of callers without keys"),
    ] = 250
    max_connections: Annotated[
        int,
        Field(
            ge=16,
            description="largest number of connections; fewer if the process may open fewer than twice as many files",
        ),
    ] = 2000
    max_uploads: Annotated[
        int,
        Field(
            ge=1,
            description="largest number of uploads that arrive or are inspected; as many results may be in the making",
        ),
    ] = 64
    max_uploads_per_key: Annotated[
        int, Field(ge=1, description="the same per API key, or per address of callers without keys")
    ] = 16
    max_kept_uploads: Annotated[
        int,
        Field(
            ge=1,
            description="largest number of resumable uploads that are no job yet, per API key, or of all callers "
            "without keys",
        ),
    ] = 32
    upload_seconds: Annotated[
        float, Field(gt=0, description="how long a resumable upload is kept that nobody continues, in seconds")
    ] = 86400.0
    min_upload_rate: Annotated[
        ByteSize,
        Field(gt=0, description="least bytes per second of an upload, which may fall behind by 30 seconds"),
    ] = ByteSize(2 << 10)

    url_hosts: Annotated[
        str,
        Field(
            description="hosts whose https:// URLs may be given in place of a video, separated by commas: names, "
            "*.example.com for all below one, * for every public host; s3://bucket for objects of a bucket. Without "
            "any, no URL is read"
        ),
    ] = ""
    url_seconds: Annotated[
        float, Field(gt=0, description="time limit for reading a URL that was given in place of a video, in seconds")
    ] = 600.0

    inspect_processes: Annotated[
        int,
        Field(ge=1, description="processes that inspect uploads; as many again probe, build results and read frames"),
    ] = 2
    inspect_seconds: Annotated[float, Field(gt=0, description="time limit for inspecting an upload, in seconds")] = 30.0
    inspect_bytes: Annotated[ByteSize, Field(gt=0, description="memory limit of a process that inspects uploads")] = (
        ByteSize(4 << 30)
    )
    frame_cache_bytes: Annotated[
        ByteSize, Field(gt=0, description="memory for pictures of frames that were made and may be asked for again")
    ] = ByteSize(64 << 20)
    probe_seconds: Annotated[float, Field(gt=0, description="time limit of `POST /v1/probe`, in seconds")] = 60.0
    render_seconds: Annotated[float, Field(gt=0, description="time limit for a result file, in seconds")] = 1800.0

    model: Annotated[str, Field(description="base network that workers keep loaded, and that jobs use by default")] = (
        "compact"
    )
    weights: Annotated[str | None, Field(description="weights file of that network in place of its own")] = None
    devices: Annotated[
        str,
        Field(
            description="devices with a worker, separated by commas: `cpu`, `cuda:0`, ...; `auto`: every CUDA device, "
            "else the CPU; `none`: workers run elsewhere (`keymask worker`)"
        ),
    ] = "auto"
    precision: Annotated[
        Literal["auto", "float32", "bfloat16", "float16", "int8"], Field(description="precision of the networks")
    ] = "auto"
    grace_seconds: Annotated[
        float, Field(ge=0, description="how long running jobs may take to reach a safe point at shutdown, in seconds")
    ] = 10.0
    stall_seconds: Annotated[
        float, Field(gt=0, description="a worker that shows no progress for this long is replaced, in seconds")
    ] = 120.0
    lease_seconds: Annotated[
        float,
        Field(
            ge=1,
            description="time without a sign of life after which others take over a worker's job, in seconds; the same "
            "on all machines of a service",
        ),
    ] = 15.0

    webhook_hosts: Annotated[
        str,
        Field(
            description="hosts that events of jobs may be sent to, separated by commas, such as hooks.example.com, "
            "*.example.com or *; no webhooks by default"
        ),
    ] = ""
    webhook_secret: Annotated[
        SecretStr | None,
        Field(
            min_length=24,
            description="with `KEYMASK_WEBHOOK_HOSTS`: the secret that those of API keys are derived from, at least 24 "
            "characters; the same in all processes of a service",
        ),
    ] = None
    engine: Annotated[
        Literal["local", "ray"],
        Field(
            description="where jobs run: `local`: in worker processes of this machine; `ray`: in actors that this "
            "process starts in a Ray cluster"
        ),
    ] = "local"
    ray_address: Annotated[
        str, Field(description="address of the Ray cluster; `auto`: the one that a node on this machine belongs to")
    ] = "auto"
    ray_min_workers: Annotated[int, Field(ge=0, description="least number of workers in the Ray cluster")] = 1
    ray_max_workers: Annotated[
        int, Field(ge=1, description="largest number of workers in the Ray cluster; there is one per unfinished job")
    ] = 8
    ray_cpus: Annotated[float, Field(gt=0, description="processor cores that a worker in the Ray cluster takes")] = 2.0
    ray_gpus: Annotated[
        float, Field(ge=0, le=1, description="GPUs that a worker in the Ray cluster takes; 0: it runs on the CPU")
    ] = 0.0

    @property
    def weights_dir(self) -> Path:
        """Folder where `keymask models pull` stores weights."""
        return self.home / "weights"

    @property
    def database(self) -> str:
        """SQLAlchemy URL of the job database."""
        return self.database_url or f"sqlite:///{self.home.absolute() / 'service' / 'jobs.db'}"

    @property
    def files_dir(self) -> Path:
        """Folder of videos and masks."""
        return (self.storage_dir or self.home / "service" / "files").expanduser()

    @property
    def device_list(self) -> tuple[str, ...]:
        """Devices that this process runs a worker on."""
        names = tuple(_items(self.devices))
        return () if names == ("none",) else names

    @property
    def allowed_origins(self) -> tuple[str, ...]:
        """Origins that CORS allows."""
        return tuple(_items(self.cors_origins))

    @property
    def trusted_proxy_list(self) -> tuple[str, ...]:
        """Addresses and networks of trusted proxies."""
        return tuple(_items(self.trusted_proxies))

    @property
    def webhook_host_list(self) -> tuple[str, ...]:
        """Hosts that events of jobs may be sent to."""
        return tuple(_items(self.webhook_hosts))

    @property
    def host_names(self) -> tuple[str, ...]:
        """Names under which the service answers, in lower case."""
        return tuple(name.lower() for name in _items(self.allowed_hosts))

    @property
    def url_host_list(self) -> tuple[str, ...]:
        """Hosts and buckets whose URLs may be given in place of a video."""
        return tuple(_items(self.url_hosts))

    @property
    def only_local(self) -> bool:
        """Whether only this machine can reach the service."""
        host = self.host if self.published is None else self.published.rpartition(":")[0].strip("[]")
        try:
            return host == "localhost" or ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    def key_digests(self) -> dict[str, str]:
        """Return SHA-256 (hexadecimal) of every API key -> its name.

        Raises:
            UsageError: An entry is not `name:sha256`, or the file cannot be read.
        """
        entries = list(_items(self.api_keys.get_secret_value() if self.api_keys else ""))
        if self.api_keys_file is not None:
            try:
                lines = self.api_keys_file.expanduser().read_text(encoding="utf-8").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                raise UsageError(f"{PREFIX}API_KEYS_FILE {self.api_keys_file} cannot be read: {error}") from error
            entries += [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
        return {digest: name for name, digest in map(_key_entry, entries)}


def load_settings() -> Settings:
    """Read the settings from the process's environment.

    Raises:
        UsageError: The value of a variable is not allowed.
    """
    try:
        settings = Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = PREFIX + "_".join(str(part) for part in first["loc"]).upper()
        raise UsageError(f"{name} is {first['input']!r}: {first['msg'][0].lower()}{first['msg'][1:]}") from None
    if settings.webhook_hosts and settings.webhook_secret is None:
        raise UsageError(f"{PREFIX}WEBHOOK_HOSTS is set, but {PREFIX}WEBHOOK_SECRET, which signs webhooks, is not")
    return settings


def unknown_variables() -> list[str]:
    """Return one sentence per variable of the environment that looks like a setting and is none."""
    known = {PREFIX + name.upper() for name in Settings.model_fields} | _OTHER_VARIABLES
    found = []
    for name in sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known):
        near = get_close_matches(name, known, n=1, cutoff=0.85)
        found.append(f"{name} is not a setting" + (f"; did you mean {near[0]}?" if near else ""))
    return found


def set_default_variables(values: Mapping[str, str]) -> None:
    """Set the variables that the environment does not have, for libraries that read them."""
    for name, value in values.items():
        os.environ.setdefault(name, value)


def library_environment() -> dict[str, str]:
    """Return the variables that libraries of a sandboxed process read, and none that may hold a secret."""
    return {name: value for name, value in os.environ.items() if name.startswith(_LIBRARY_VARIABLES)} | {
        "OPENBLAS_NUM_THREADS": "1"  # its threads would start at the import, before the process is confined
    }


def credential_folders() -> list[Path]:
    """Return the folders of files that the libraries of object stores read credentials from, such as those of pods."""
    return [Path(os.environ[name]).parent for name in _CREDENTIAL_FILES if os.environ.get(name)]


def traces_are_wanted() -> bool:
    """Return whether the environment names a collector of traces."""
    return any(os.environ.get(name) for name in _TRACES) and os.environ.get("OTEL_SDK_DISABLED", "").lower() != "true"


def digest_of_key(key: str) -> str:
    """Return the hexadecimal SHA-256 of an API key. Keys are 256 random bits, so they need no slow or salted hash."""
    return hashlib.sha256(key.encode()).hexdigest()


def settings_table() -> str:
    """Return all settings as a table in Markdown."""
    rows = ["| variable | default | meaning |", "| --- | --- | --- |"]
    for name, field in Settings.model_fields.items():
        extra = field.json_schema_extra
        shown = extra.get("shown") if isinstance(extra, dict) else None
        default = shown or ("none" if field.default in (None, "") else f"`{_plain(field.default)}`")
        rows.append(f"| `{PREFIX}{name.upper()}` | {default} | {field.description} |")
    return "\n".join(rows) + "\n"


def _plain(value: object) -> str:
    return (
        value.human_readable() if isinstance(value, ByteSize) else str(value).lower() if value is False else str(value)
    )


def _items(text: str) -> Iterator[str]:
    return (part.strip() for part in text.split(",") if part.strip())


def _key_entry(entry: str) -> tuple[str, str]:
    name, _, digest = entry.rpartition(":")
    digest = digest.strip().lower()
    if not name or len(digest) != 64 or any(c not in "0123456789abcdef" for c in digest):
        raise UsageError(f"the API key {name or '(without a name)'!r} is not name:sha256; `keymask keys new` makes one")
    return name.strip(), digest
