"""Headless Chromium for tests of the page, driven by playwright. What the page should never do fails the test."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from tests.support.syscall_log import DEMAND

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_WAIT_MILLISECONDS = 20_000
_WATCH_POLICY = """addEventListener("securitypolicyviolation", (event) =>
    console.error(`CSP: ${event.violatedDirective} blocks ${event.blockedURI || "inline code"}`))"""


def chromium_path() -> str:
    """Return the browser; skip the test where there is none, or let it fail if `TESTS_SKIP_NOTHING` is set."""
    for name in _NAMES:
        if path := shutil.which(name):
            return path
    reason = f"no Chromium: none of {', '.join(_NAMES)} is installed (Debian: apt install chromium)"
    if os.environ.get(DEMAND):
        pytest.fail(reason)
    pytest.skip(reason)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run the browser while the block runs."""
    path = chromium_path()
    expect.set_options(timeout=_WAIT_MILLISECONDS)
    with sync_playwright() as playwright:
        # Chromium's own sandbox needs rights that containers lack; the pages are ours.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Guard:
    """Collects errors of a page: exceptions, errors on the console, violations of the content security policy.

    Attributes:
        found: The errors so far.
        expected: Parts of errors that the test provokes.
    """

    found: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        """Collect the errors of a page that has not been opened."""
        page.add_init_script(_WATCH_POLICY)
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.found.append(str(error)))

    def check(self) -> None:
        """Fail on errors that the test has not provoked."""
        unexpected = [text for text in self.found if not any(part in text for part in self.expected)]
        assert not unexpected, unexpected

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and "willReadFrequently" not in message.text:
            self.found.append(message.text)


@contextmanager
def new_page(browser: Browser, address: str, guard: Guard, **context: Any) -> Iterator[Page]:
    """Open the service's page in a profile of its own; the guard's errors fail the test at the end."""
    profile = browser.new_context(base_url=address, viewport={"width": 1280, "height": 800}, **context)
    profile.set_default_timeout(_WAIT_MILLISECONDS)
    try:
        page = profile.new_page()
        guard.watch(page)
        page.goto("/")
        yield page
    finally:
        profile.close()
    guard.check()
