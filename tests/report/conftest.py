"""One headless Chromium for all pages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.report.browser_page import chromium

if TYPE_CHECKING:
    from selenium.webdriver.chrome.webdriver import WebDriver


@pytest.fixture(scope="package")
def driver() -> Iterator[WebDriver]:
    with chromium() as made:
        yield made
