"""`python -m tests.docs` writes the pages of docs/reference that are made from the code."""

from __future__ import annotations

from tests.docs.reference import PAGES

if __name__ == "__main__":
    for path, page in PAGES.items():
        path.write_text(page(), encoding="utf-8")
