"""The deep-zoom viewer in a real browser: tiles, rulers, print size, the curtain, keys, labels."""

from __future__ import annotations

import contextlib
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
from PIL import Image
from playwright.sync_api import sync_playwright
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from hires.serve import vendor
from hires.serve.zoom import Zoom

CHROMIUM = shutil.which("chromium")
STATIC = Path(vendor.__file__).parent / "static"
WIDTH, HEIGHT, DPI = 3000, 2100, 150
PAGE = f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>zoom</title>
<link rel="stylesheet" href="/static/zoom.css"><style>
body {{ margin: 0 }} #z {{ height: 100vh }}</style>
<div id="z"></div><script type="module">
import {{ openZoom, tickStep }} from "/static/zoom.js";
globalThis.tickStep = tickStep;
const picture = {{ dzi: "/zoom/p.dzi", width: {WIDTH}, height: {HEIGHT}, before: "/photograph" }};
picture.dpi = location.hash === "#pixels" ? null : {DPI};
globalThis.zoom = await openZoom(document.getElementById("z"), picture);
</script></html>"""

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium"),
    pytest.mark.skipif(vendor.missing() is not None, reason="needs the viewer, fetched when built"),
]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with a painting of single red and blue pixels, and a green photograph."""
    folder = tmp_path_factory.mktemp("pictures")
    checks = np.indices((HEIGHT, WIDTH)).sum(0) // 8 % 2 == 0
    painting = np.where(checks[..., None], (220, 30, 30), (30, 30, 220)).astype(np.uint8)
    Image.fromarray(painting).save(folder / "p.png")
    Image.new("RGB", (500, 500), (20, 200, 20)).save(folder / "photograph.png")

    async def page(_: Request) -> Response:
        return HTMLResponse(PAGE)

    async def photograph(_: Request) -> Response:
        return Response((folder / "photograph.png").read_bytes(), media_type="image/png")

    zoom = Zoom(lambda key: folder / f"{key}.png" if key == "p" else None)
    routes = [Route("/", page), Route("/photograph", photograph), *zoom.routes()]
    app = Starlette(routes=[*routes, Mount("/static", StaticFiles(directory=str(STATIC)))])
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.02)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        server.should_exit = True
        thread.join()
    zoom.close()


@contextlib.contextmanager
def opened(address: str, *, width: int = 1000, **options: Any) -> Iterator[Any]:
    """The page, once all of the first view is there; nothing may have gone wrong on it."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = browser.new_context(viewport={"width": width, "height": 700}, **options)
        page: Any = context.new_page()
        page.troubles = []
        page.tiles = []
        page.on("pageerror", lambda error: page.troubles.append(str(error)))
        page.on(
            "request", lambda asked: page.tiles.append(asked.url) if "_files" in asked.url else 0
        )
        page.goto(address)
        page.wait_for_selector("#z[data-open]")
        settled(page)
        yield page
        assert page.troubles == []
        browser.close()


def settled(page: Any) -> None:
    """Wait until nothing moves and every tile is there."""
    page.wait_for_timeout(900)
    page.wait_for_function(
        "() => [...Array(zoom.viewer.world.getItemCount()).keys()]"
        ".every((i) => zoom.viewer.world.getItemAt(i).getFullyLoaded())"
    )
    page.wait_for_timeout(100)


def shot(page: Any, folder: Path) -> Any:
    page.screenshot(path=str(folder / "shot.png"))
    with Image.open(folder / "shot.png") as image:
        return np.asarray(image.convert("RGB")).astype(int)


def state(page: Any) -> str:
    return str(page.inner_text(".zoom-state"))


def test_few_tiles_for_the_first_view_and_all_of_1_to_1(address: str, tmp_path: Path) -> None:
    with opened(address) as page:
        assert len(page.tiles) <= 20
        assert state(page).endswith("3000 × 2100 px, 508 × 356 mm at 150 dpi")
        page.click("button:text('1:1')")
        settled(page)
        assert state(page).startswith("100%")
        assert len(page.tiles) <= 32
        # Pixel for pixel: squares of 8 pixels, seen as 8 pixels.
        row = shot(page, tmp_path)[400, 200:800]
        edges = np.flatnonzero(np.diff(row[:, 0] > row[:, 2]))
        assert (np.diff(edges) == 8).mean() > 0.95


def test_above_1_to_1_pixels_are_squares(address: str, tmp_path: Path) -> None:
    with opened(address) as page:
        page.evaluate("zoom.zoomTo(12)")
        settled(page)
        assert state(page).startswith("1200%")
        assert not page.evaluate("zoom.isSmooth")
        row = shot(page, tmp_path)[400, 200:800].astype(int)
        assert (np.abs(np.diff(row, axis=0)).max(1) > 0).mean() < 0.15


@pytest.mark.parametrize(("ratio", "wanted"), [(1, 64), (2, 128)])
def test_as_large_as_on_paper(ratio: int, wanted: int, address: str) -> None:
    """At 96 CSS pixels an inch, a picture of 150 dpi is 64% of a CSS pixel for each of its own."""
    with opened(address, device_scale_factor=ratio) as page:
        page.focus(".openseadragon-canvas")
        page.keyboard.press("p")
        settled(page)
        assert state(page).startswith(f"{wanted}%")
        page.click("button:text('Screen')")
        page.fill(".zoom-screen input[type=number]", str(120 * ratio))
        page.click(".zoom-screen button")
        settled(page)
        assert state(page).startswith(f"{wanted * 120 // 96}%")
        page.reload()
        page.wait_for_selector("#z[data-open]")
        page.click("button:text('Print size')")
        settled(page)
        assert state(page).startswith(f"{wanted * 120 // 96}%")


def test_the_curtain_is_drawn_by_mouse_and_keys(address: str, tmp_path: Path) -> None:
    with opened(address) as page:
        page.focus(".openseadragon-canvas")
        page.keyboard.press("c")
        settled(page)
        slider = page.get_by_role("slider")
        assert slider.get_attribute("aria-valuenow") == "50"
        assert slider.evaluate("it => it === document.activeElement")

        def is_photograph(image: Any, x: int) -> bool:
            return bool(image[300, x, 1] > 150)

        image = shot(page, tmp_path)
        assert is_photograph(image, 400)
        assert not is_photograph(image, 600)
        for key in ("Shift+ArrowRight", "ArrowRight", "ArrowLeft", "PageUp"):
            page.keyboard.press(key)
        assert slider.get_attribute("aria-valuetext") == "70% photograph, 30% painting"
        page.wait_for_timeout(200)
        image = shot(page, tmp_path)
        assert is_photograph(image, 650)
        assert not is_photograph(image, 760)
        box = slider.bounding_box()
        page.mouse.move(box["x"] + 22, 300)
        page.mouse.down()
        page.mouse.move(22 + 978 * 0.25, 320, steps=4)
        page.mouse.up()
        assert slider.get_attribute("aria-valuenow") == "25"
        # The photograph, a square, lies on the whole frame, and on nothing beyond it.
        page.keyboard.press("End")
        page.wait_for_timeout(200)
        frame = page.evaluate(
            "() => { const r = zoom.viewer.world.getItemAt(0).imageToViewerElementCoordinates("
            f"new OpenSeadragon.Point({WIDTH}, {HEIGHT})); return [r.x + 22, r.y]; }}"
        )
        image = shot(page, tmp_path)
        top = page.locator(".zoom-stage").bounding_box()["y"]
        assert is_photograph(image, int(frame[0]) - 6)
        below = image[int(top + frame[1]) + 4 :, 100]
        assert len(below) == 0 or below[:, 1].max() - below[:, 0].min() < 60


def test_keys_do_not_turn_the_picture(address: str) -> None:
    with opened(address) as page:
        page.focus(".openseadragon-canvas")
        page.keyboard.press("r")
        assert page.get_by_role("button", name="Ruler").get_attribute("aria-pressed") == "false"
        page.keyboard.press("f")
        assert page.evaluate(
            "[zoom.viewer.viewport.getRotation(), zoom.viewer.viewport.flipped]"
        ) == [
            0,
            False,
        ]


def test_without_dpi_there_are_pixels_and_no_print_size(address: str) -> None:
    with opened(f"{address}#pixels") as page:
        assert page.get_by_role("button", name="As large as on paper").count() == 0
        assert state(page).endswith("3000 × 2100 px")
        assert page.evaluate("[0.7, 1, 13, 20, 49].map(tickStep)") == [1, 1, 20, 20, 50]


def test_every_button_has_a_name(address: str) -> None:
    with opened(address, width=390) as page:
        names = page.locator("button").evaluate_all("all => all.map(it => it.ariaLabel)")
        assert all(names)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
