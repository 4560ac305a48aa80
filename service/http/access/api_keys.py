"""The API keys that callers need."""

from __future__ import annotations

import logging
from time import monotonic
from typing import TypeAlias

from service.config import PREFIX, Settings, digest_of_key
from service.errors import UsageError
from service.runtime.threads import in_thread

_log = logging.getLogger(__name__)

_CHECK_SECONDS = 1.0
"""How often the file of keys is looked at; a key that was removed from it is good for this long."""
_FileState: TypeAlias = "tuple[int, int, int] | None"


class ApiKeys:
    """The API keys in force. The file of keys is read again when it changes.

    Args:
        settings: The settings of the service.

    Attributes:
        required: Whether callers need a key. It never changes: an emptied file locks everybody out.

    Raises:
        UsageError: The keys cannot be read, or the settings require keys and contain none.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._state = self._file_state()
        self._names = {} if settings.auth == "off" else settings.key_digests()
        self._checked_at = monotonic()
        self.required = bool(self._names)
        if not self.required:
            _check_open(settings)

    @property
    def names(self) -> list[str]:
        """Names of all keys in force, sorted."""
        return sorted(set(self._names.values()))

    async def name_of(self, key: str) -> str | None:
        """Return the name of a key; None if it is not in force."""
        if self._settings.api_keys_file is not None and monotonic() - self._checked_at >= _CHECK_SECONDS:
            self._checked_at = monotonic()
            await in_thread(self._read_again)
        return self._names.get(digest_of_key(key))

    def _read_again(self) -> None:
        """Read the keys if the file has changed. A file that cannot be used leaves the keys as they are."""
        state = self._file_state()
        if state == self._state:
            return
        self._state = state
        try:
            self._names = self._settings.key_digests()
        except UsageError as error:
            _log.error("the API keys stay as they were", extra={"reason": str(error)})
        else:
            _log.info("the API keys were read again", extra={"keys": self.names})

    def _file_state(self) -> _FileState:
        """Return what changes with the content of the file; None if there is none."""
        try:
            found = self._settings.api_keys_file and self._settings.api_keys_file.expanduser().stat()
        except OSError:
            return None
        return (found.st_ino, found.st_size, found.st_mtime_ns) if found else None


def _check_open(settings: Settings) -> None:
    """Refuse a service without keys that other machines can reach, unless that was asked for twice."""
    if settings.auth == "required" or not (settings.only_local or (settings.auth == "off" and settings.trust_network)):
        raise UsageError(
            f"the service would listen on {settings.published or settings.host} without an API key: make one with "
            "`keymask keys new NAME`, listen on 127.0.0.1, or, if a proxy in front of the service authenticates "
            f"callers, set both {PREFIX}AUTH=off and {PREFIX}TRUST_NETWORK=true"
        )
