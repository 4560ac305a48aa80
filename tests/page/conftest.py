"""One browser for all tests of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.support.browser import Guard, chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Headless Chromium.

    It ends with the module: while it runs, playwright's event loop keeps other tests of the process from starting one.
    """
    with chromium() as running:
        yield running


@pytest.fixture
def guard() -> Guard:
    """Fails the test on errors of the page."""
    return Guard()
