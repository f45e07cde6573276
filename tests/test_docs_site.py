"""The documentation site: built without a warning, and reading it loads nothing from other hosts."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
#: What a browser loads by itself when it shows a page; links that a reader may follow are no such thing.
LOADED = re.compile(r"<(?:script|img|link|iframe|source)\b[^>]*?(?:src|href)=[\"'](https?:)?//", re.IGNORECASE)
LOADED_BY_STYLE = re.compile(r"(?:@import|url\()\s*[\"']?(?:https?:)?//", re.IGNORECASE)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "docs", str(out)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr
    return out


def test_every_page_is_on_the_site(site: Path) -> None:
    pages = [path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")]
    assert len(pages) > 20
    assert [str(page) for page in pages if not (site / page).is_file()] == []


def test_the_api_page_names_all_of_the_package(site: Path) -> None:
    import mien

    text = (site / "api.html").read_text(encoding="utf-8")
    assert [name for name in mien.__all__ if f'id="mien.{name}"' not in text] == []


def test_a_page_loads_nothing_from_other_hosts(site: Path) -> None:
    pages = [*site.rglob("*.html")]
    assert [page.name for page in pages if LOADED.search(page.read_text(encoding="utf-8"))] == []
    styles = [*site.rglob("*.css")]
    assert styles
    assert [style.name for style in styles if LOADED_BY_STYLE.search(style.read_text(encoding="utf-8"))] == []
