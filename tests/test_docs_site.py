"""The docs site: built without a warning, every link leads somewhere, nothing is fetched, and it can be searched."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Final
from urllib.parse import unquote

import pytest

pytestmark = pytest.mark.slow

ROOT: Final = Path(__file__).resolve().parent.parent
FETCHED: Final = {("script", "src"), ("img", "src"), ("link", "href"), ("iframe", "src"), ("source", "src")}


class Page(HTMLParser):
    """What a page leads to, what it fetches, and the anchors that it has."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.led: set[str] = set()
        self.fetched: set[str] = set()
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.anchors.add(value)
            elif name in ("href", "src") and value:
                (self.fetched if (tag, name) in FETCHED else self.led).add(value)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` builds it, from a copy: another build may be under way in the checkout."""
    folder = tmp_path_factory.mktemp("site")
    for name in ("mkdocs.yml", "CHANGELOG.md"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "docs", folder / "docs")
    zensical = Path(sys.executable).parent / "zensical"
    made = subprocess.run(
        [zensical, "build", "--clean", "--strict"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stdout + made.stderr
    return folder / "build/site"


def test_every_link_of_the_site_leads_to_a_page_and_its_heading(site: Path) -> None:
    pages = {path: Page(path) for path in site.rglob("*.html")}
    assert len(pages) > 80
    for path, found in pages.items():
        if path.name == "404.html":  # its links start at the root of a server
            continue
        for target in found.led | found.fetched:
            if re.match(r"[a-z]+:", target):
                continue
            file, _, anchor = unquote(target).partition("#")
            leads_to = (path.parent / file).resolve() if file else path
            leads_to = leads_to / "index.html" if leads_to.is_dir() else leads_to
            assert leads_to.exists(), (path.name, target)
            assert not anchor or leads_to not in pages or anchor in pages[leads_to].anchors, (path.name, target)


def test_the_site_fetches_nothing_from_elsewhere(site: Path) -> None:
    """No font, no script, no picture, no analytics: what a page loads lies in the site."""
    for path in site.rglob("*.html"):
        assert not [url for url in Page(path).fetched if re.match(r"(https?:)?//", url)], path.name
    for path in site.rglob("*.css"):
        assert not re.search(r"""(url\(|@import )['"]?https?:""", path.read_text(encoding="utf-8")), path.name


def test_the_search_knows_every_page(site: Path) -> None:
    items = json.loads((site / "search.json").read_text(encoding="utf-8"))["items"]
    found = {item["location"].partition("#")[0] for item in items}

    assert {"tutorial.html", "job-file.html", "command-line.html", "decisions/index.html", "changelog.html"} <= found
    assert any("budget_usd" in item["text"] for item in items)
