"""The documentation site: strict, whole without a network, its plots those of the figures."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import hires
import hires.losses

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROOT = Path(__file__).parents[1]
CHROMIUM = shutil.which("chromium")
DRAWN = runpy.run_path(str(ROOT / "scripts" / "performance_plots.py"))


@pytest.mark.parametrize("name", DRAWN["PLOTS"])
def test_plots_are_of_these_figures(name: str) -> None:
    """`scripts/performance_plots.py` draws them anew."""
    _, figures, _ = DRAWN["PLOTS"][name]
    plot = (ROOT / "docs" / f"{name}.svg").read_text(encoding="utf-8")
    assert DRAWN["source_of"](figures) in plot


def test_every_public_name_is_in_the_reference() -> None:
    told = re.findall(r"(?m)^::: hires\.(.+)$", (ROOT / "docs/api.md").read_text(encoding="utf-8"))
    losses = [f"losses.{name}" for name in hires.losses.__all__]
    assert sorted(told) == sorted({*hires.__all__, *losses} - {"__version__"})


def test_the_start_page_is_the_readme() -> None:
    pytest.importorskip("mkdocs")
    page = runpy.run_path(str(ROOT / "scripts" / "site_pages.py"))["start_page"]()
    assert "](docs/" not in page
    assert "[Regions](regions.md)" in page
    assert "](gallery/wide.jpg)" in page


def test_every_option_is_on_the_page_of_commands() -> None:
    pytest.importorskip("mkdocs")
    page = runpy.run_path(str(ROOT / "scripts" / "site_pages.py"))["commands"]()
    assert {f"--{name.replace('_', '-')}" for name in ("tv_weight", "checkpoint_every")} <= {
        *page.split()
    }


def build(root: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Build as `scripts/docs` does."""
    pytest.importorskip("mkdocs")
    pytest.importorskip("mkdocstrings")
    argv = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(folder)]
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": paths}
    return subprocess.run(
        argv, cwd=root, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site."""
    folder = tmp_path_factory.mktemp("site")
    done = build(ROOT, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.slow
def test_broken_links_and_anchors_end_the_build(tmp_path: Path) -> None:
    for name in ("mkdocs.yml", "scripts", "hires", "README.md", "CHANGELOG.md"):
        (tmp_path / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    with (tmp_path / "docs" / "runs.md").open("a", encoding="utf-8") as page:
        page.write("\n[broken](nowhere.md) [part](losses.md#nothing)\n")
    done = build(tmp_path, tmp_path / "site")
    assert done.returncode == 1
    assert "nowhere.md" in done.stderr
    assert "#nothing" in done.stderr
    assert "2 warnings" in done.stdout + done.stderr


@pytest.mark.slow
def test_pages_fetch_nothing_from_elsewhere(site: Path) -> None:
    pages = list(site.glob("**/*.html"))
    assert len(pages) > 20
    for page in pages:
        text = page.read_text(encoding="utf-8")
        tags = re.findall(r"<(?:script|link|img|iframe|source|video)\b[^>]*>", text)
        assert tags
        assert [tag for tag in tags if re.search(r"""=["']?(?:https?:)?//""", tag)] == []
        # The theme would fetch what draws these.
        assert 'class="mermaid"' not in text
    for style in site.glob("**/*.css"):
        assert not re.search(r"url\([\"']?https?:", style.read_text(encoding="utf-8"))


@pytest.mark.slow
def test_the_reference_has_shapes_and_defaults(site: Path) -> None:
    text = re.sub(r"<[^>]+>", "", (site / "api.html").read_text(encoding="utf-8"))
    assert "The painting, (1, 3, H, W) float32 in [0, 1]" in text
    assert "Long side of the painting in pixels; content: as large as the photograph" in text
    assert "content_weight: float = 0.025" in text


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: scripts/setup_browser.sh")
def test_search_works_from_a_folder_without_a_network(site: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page: Page = browser.new_page(viewport={"width": 390, "height": 800}, offline=True)
        asked: list[Any] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"file://{site}/faq.html")
        page.click("label[for=__search]")
        page.locator("input.md-search__input").press_sequentially("dictionary")
        page.wait_for_selector("a.md-search-result__link[href*='losses.html']", timeout=60_000)
        # On a phone, pages are no wider than the screen.
        for name in ("index", "api", "performance", "commands"):
            page.goto(f"file://{site}/{name}.html", timeout=120_000)
            assert page.evaluate("document.documentElement.scrollWidth") <= 390, name
        browser.close()
    assert all(url.startswith(("file:", "data:")) for url in asked)
