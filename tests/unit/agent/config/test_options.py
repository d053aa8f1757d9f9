"""The page of options is what the table says."""

import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[4]


def test_the_page_of_options_is_up_to_date() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "config_docs.py"))
    page = (ROOT / "docs" / "operating" / "configuration.md").read_text(encoding="utf-8")
    assert page == script["page"](), "run scripts/config_docs.py --write"
