"""Pictures of the pages for docs/: `python benchmarks/screenshots.py RUN SWEEP docs` (directories; needs Chromium).

The first screens of the report at 1280 and at 390 pixels, the first screen of the sweep's page.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

SHOTS = {"report-wide": (0, 1280, 1150), "report-phone": (0, 390, 1150), "report-sweep": (1, 1280, 1000)}
"""Name -> which of the pages, its width and height in pixels."""


def main() -> None:
    """Takes them."""
    *directories, folder = map(Path, sys.argv[1:])
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, (place, width, height) in SHOTS.items():
            page = browser.new_page(viewport={"width": width, "height": height})
            page.goto((directories[place] / "report.html").resolve().as_uri())
            page.screenshot(path=folder / f"{name}.png")
        browser.close()


if __name__ == "__main__":
    main()
