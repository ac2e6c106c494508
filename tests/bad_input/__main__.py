"""`python -m tests.bad_input` writes docs/bad-input.md."""

from __future__ import annotations

from tests.bad_input.table import PAGE, page

if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
