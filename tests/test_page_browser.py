"""The page of ``hires serve`` in a real browser: from two pictures to a file for the lab."""

from __future__ import annotations

import io
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import end_runs
from PIL import Image, ImageCms

from hires.serve import vendor

CHROMIUM = shutil.which("chromium")
DPI, PAPER = 40, "A6"
SIZE = (165, 233)  # of an A6 at 40 dpi: 105 x 148 mm
SECONDS = 180_000  # ms that a page may wait for a run's next word on a busy machine
PHONE, DESKTOP = 390, 1280

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: scripts/setup_browser.sh"),
    pytest.mark.skipif(vendor.missing() is not None, reason="needs the viewer, fetched when built"),
]
playwright = pytest.importorskip("playwright.sync_api")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of its own process, as people start it."""
    folder = tmp_path_factory.mktemp("studio")
    command = [sys.executable, "-m", "hires", "serve", "--port", "0", "--folder", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        line = server.stdout.readline()
        found = re.search(r"http://\S+", line)
        assert found, line
        yield found[0]
        server.send_signal(signal.SIGINT)
        assert server.wait(30) == 0
        end_runs(folder)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A photograph and a painting; the name of one would be markup if it were not text."""
    folder, chance = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    rows, columns = np.indices((320, 240)) / 320
    photograph = np.stack([rows, columns, 1 - rows], axis=-1) * 255
    photograph[100:200, 80:160] = (240, 210, 40)
    painting = chance.integers(0, 256, (24, 24, 3)).astype(np.uint8)
    found = {
        "content": folder / "photograph.png",
        "style": folder / "<img src=x onerror=alert(1)>.png",
    }
    Image.fromarray(photograph.astype(np.uint8)).save(found["content"])
    Image.fromarray(painting).resize((240, 240), Image.Resampling.BICUBIC).save(found["style"])
    return found


@contextmanager
def opened(address: str, width: int = DESKTOP, **options: Any) -> Iterator[Any]:
    """The page, ready; nothing may have gone wrong on it in the end."""
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page: Any = browser.new_context(
            viewport={"width": width, "height": 900}, **options
        ).new_page()
        page.set_default_timeout(SECONDS)
        page.troubles, page.asked = [], []
        page.on("pageerror", lambda error: page.troubles.append(str(error)))
        page.on("request", lambda asked: page.asked.append(asked.url))
        page.goto(address)
        page.wait_for_selector("body[data-ready]")
        yield page
        assert page.troubles == []
        assert all(url.startswith((address, "blob:", "data:")) for url in page.asked)
        browser.close()


def choose(page: Any, pictures: dict[str, Path]) -> None:
    """Upload both pictures."""
    page.set_input_files("#content-file", pictures["content"])
    page.wait_for_selector("#content .shown img")
    page.set_input_files("#styles-file", pictures["style"])
    page.wait_for_selector("#styles .card")


def fill(page: Any, **options: object) -> None:
    """Fill options in, also those under More."""
    page.evaluate("document.querySelector('#options details').open = true")
    for name, value in options.items():
        page.fill(f"#option-{name}", str(value))


def pixels_of(url: str) -> str:
    """Draws a picture and adds its pixels up, so that two pictures differ."""
    return (
        "(async () => { const i = new Image(); i.src = '" + url + "'; await i.decode();"
        " const c = document.createElement('canvas'); c.width = i.width; c.height = i.height;"
        " const p = c.getContext('2d'); p.drawImage(i, 0, 0);"
        " return p.getImageData(0, 0, c.width, c.height).data.reduce((a, b) => a + b, 0) })()"
    )


def test_from_two_pictures_to_a_file_for_the_lab(
    address: str, pictures: dict[str, Path], tmp_path: Path
) -> None:
    with opened(address, accept_downloads=True) as page:
        choose(page, pictures)
        assert page.inner_text("#styles .name") == pictures["style"].name  # Text, not markup.
        page.get_by_label("For paper").check()
        fill(page, paper=PAPER, dpi=DPI, min_size=96, iterations="40, 150")
        page.click("#ask-plan")
        page.wait_for_selector("#paint")
        assert f"{SIZE[0]} × {SIZE[1]} px" in page.inner_text("#plan-summary")
        assert page.locator("#plan tbody tr").count() >= 2
        before = address_of(page)
        page.click("#paint")
        run = begun(page, before)
        wait_for_state(page, run, "running")

        page.wait_for_selector("#run img:visible")
        first = page.get_attribute("#run img", "src")
        at_first = page.evaluate(pixels_of(first))
        page.wait_for_function(
            "a => document.querySelector('#run img').getAttribute('src') !== a", arg=first
        )
        assert page.evaluate(pixels_of(page.get_attribute("#run img", "src"))) != at_first

        page.reload()
        wait_for_state(page, run, "running")
        page.click("#stop")
        wait_for_state(page, run, "stopped")
        assert page.inner_text("#run-state") == "Stopped"
        page.click("#resume")
        wait_for_state(page, run, "done")
        assert page.locator("#curves path.curve").count() >= 2

        look_closely(page)
        take(page, tmp_path)


def look_closely(page: Any) -> None:
    """Pixel for pixel, by tiles; then the curtain, by its keys."""
    page.wait_for_selector("#zoom[data-open]")
    page.click("#zoom >> text=1:1")
    page.wait_for_selector(f".zoom-state:has-text('100% of {SIZE[0]} × {SIZE[1]} px')")
    page.wait_for_timeout(500)
    tiles = [url for url in page.asked if "_files/" in url]
    assert 1 <= len({*tiles}) <= 20
    page.click("#zoom >> text=Photograph")
    curtain = page.locator(".zoom-curtain")
    at = int(curtain.get_attribute("aria-valuenow"))
    page.keyboard.press("Shift+ArrowRight")
    assert int(curtain.get_attribute("aria-valuenow")) == at + 10


def take(page: Any, folder: Path) -> None:
    """A file for the lab, made of the painting as it lies in the folder."""
    saved = {}
    for name, told in (("lab", "For a lab: TIFF"), ("own", "The file as painted (PNG)")):
        with page.expect_download() as coming:
            page.click(f"#files >> text={told}")
        saved[name] = folder / f"{name}{Path(coming.value.suggested_filename).suffix}"
        coming.value.save_as(saved[name])
    assert "hires stylize" in page.inner_text(".command code")
    with Image.open(saved["lab"]) as lab, Image.open(saved["own"]) as own:
        assert (lab.format, lab.mode, lab.size) == ("TIFF", "RGB", SIZE)
        assert lab.info["dpi"] == pytest.approx((DPI, DPI), abs=0.01)
        profile = ImageCms.ImageCmsProfile(io.BytesIO(lab.info["icc_profile"]))
        assert "sRGB" in ImageCms.getProfileDescription(profile)
        difference = np.abs(np.asarray(lab, int) - np.asarray(own.convert("RGB"), int))
    # Of 16 bits the lab's file has 8, dithered; Pillow cuts the others off.
    assert difference.max() <= 2
    assert difference.mean() < 1


def test_errors_stand_beside_what_caused_them(address: str, pictures: dict[str, Path]) -> None:
    with opened(address) as page:
        page.set_input_files(
            "#content-file", {"name": "x.png", "mimeType": "image/png", "buffer": b"x"}
        )
        page.wait_for_selector("#content .error:visible")
        assert "x.png" in page.inner_text("#content .error")
        choose(page, pictures)
        assert not page.is_visible("#content .error")
        fill(page, content_weight="-1")
        page.click("#ask-plan")
        page.wait_for_selector('[data-name="content_weight"] .error:visible')
        assert page.evaluate("document.activeElement.id") == "option-content_weight"


def test_regions_are_painted_and_sent(address: str, pictures: dict[str, Path]) -> None:
    with opened(address) as page:
        choose(page, pictures)
        fill(page, size=96, min_size=96, iterations="2")
        page.click("#regions-edit")
        page.focus("dialog canvas")
        for key in ("ArrowLeft", "Space", "ArrowRight", "ArrowRight", "Space", "z"):
            page.keyboard.press(key)
        page.click("dialog >> text=Done")
        page.wait_for_selector("#regions-edit:has-text('Change the regions')")
        with page.expect_request("**/api/plan") as asked:
            page.click("#ask-plan")
        masks = asked.value.post_data_json["masks"]
        assert [mask["style"] for mask in masks] == [1]  # What is kept has no mask.
        page.wait_for_selector("#paint")


def test_a_dozen_fill_the_options_in(address: str, pictures: dict[str, Path]) -> None:
    with opened(address) as page:
        choose(page, pictures)
        fill(page, min_size=64, iterations="2")
        page.click("#ask-dozen")
        page.click(".cell:has-text('the photograph') >> nth=0")
        page.wait_for_selector(".cell[aria-pressed=true]")
        assert page.input_value("#option-content_weight") == "0.1"
        page.wait_for_selector("#dozen >> text=All on one sheet")
        assert page.locator(".cell").count() == 12


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [DESKTOP, PHONE])
def test_the_page_fits_and_can_be_used_by_keys(address: str, width: int, scheme: str) -> None:
    choosers: list[Any] = []
    with opened(address, width, color_scheme=scheme) as page:
        page.evaluate("document.querySelectorAll('details').forEach((d) => (d.open = true))")
        page.get_by_label("For paper").check()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        unnamed = page.evaluate(
            "[...document.querySelectorAll('button, input, select')].filter((e) =>"
            " e.checkVisibility() && !(e.ariaLabel || e.labels?.length || e.textContent.trim()))"
            ".map((e) => e.outerHTML)"
        )
        assert unnamed == []
        assert contrast_is_enough(page)
        page.on("filechooser", lambda chooser: choosers.append(chooser))
        page.focus("#content-drop")
        page.keyboard.press("Enter")
        page.wait_for_timeout(500)
        assert len(choosers) == 1


def contrast_is_enough(page: Any) -> bool:
    """Whether words, also soft ones, stand out against the page by 4.5 to 1 (WCAG AA)."""
    ratios = page.evaluate(
        """() => {
          const style = getComputedStyle(document.documentElement);
          const channel = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
          const light = (name) => {
            const hex = style.getPropertyValue(name).trim();
            const [r, g, b] = [1, 3, 5].map((i) => channel(parseInt(hex.slice(i, i + 2), 16)));
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
          };
          const pairs = ["--ink", "--soft", "--accent", "--error"].flatMap((ink) =>
            ["--ground", "--card"].map((ground) => [ink, ground]));
          pairs.push(["--accent-ink", "--accent"], ["--accent", "--accent-soft"]);
          return pairs.map(([a, b]) => {
            const [most, least] = [light(a), light(b)].sort((x, y) => y - x);
            return (most + 0.05) / (least + 0.05);
          });
        }"""
    )
    return bool(min(ratios) >= 4.5)


def short(page: Any, **options: object) -> None:
    """Options of a run that is over soon."""
    fill(page, **{"size": 96, "min_size": 64, "rungs": 2, "iterations": "4", **options})


def start(page: Any) -> str:
    """Plan and begin; returns the run's id."""
    before = address_of(page)
    page.click("#ask-plan")
    page.click("#paint")
    return begun(page, before)


def address_of(page: Any) -> str:
    """What the address says of the run that is looked at."""
    return str(page.evaluate("location.hash"))


def begun(page: Any, before: str) -> str:
    """Wait until another run is looked at than before; returns its id."""
    page.wait_for_function("before => location.hash !== before", arg=before)
    return str(page.url.rpartition("=")[2])


def wait_for_state(page: Any, run: str, state: str) -> None:
    """Wait until that run is shown, and is so; the page shows the last one when it is opened."""
    page.wait_for_selector(f"#run[data-run='{run}'][data-state={state}]")


def test_dropped_and_pasted(address: str, pictures: dict[str, Path]) -> None:
    data = [*pictures["content"].read_bytes()]
    give = """([data, name, how, where]) => {
      const files = new DataTransfer();
      files.items.add(new File([new Uint8Array(data)], name, { type: "image/png" }));
      const settings = { bubbles: true, cancelable: true };
      const event = how === "drop"
        ? new DragEvent("drop", { ...settings, dataTransfer: files })
        : new ClipboardEvent("paste", { ...settings, clipboardData: files });
      document.querySelector(where).dispatchEvent(event);
    }"""
    with opened(address) as page:
        page.evaluate(give, [data, "dropped.png", "drop", "#content-drop"])
        page.wait_for_selector("#content .shown img[alt='Photograph dropped.png']")
        page.evaluate(give, [data, "pasted.png", "paste", "body"])  # There is a photograph.
        page.wait_for_selector("#styles .card:has-text('pasted.png')")
        page.evaluate(give, [data, "missed.png", "drop", "footer"])
        assert page.url.partition("#")[0] == address  # A file that misses its place opens nothing.
        assert page.locator("#styles .card").count() == 1


def test_stop_at_this_size_and_look_at_it(address: str, pictures: dict[str, Path]) -> None:
    with opened(address) as page:
        choose(page, pictures)
        short(page, size=192, iterations="200, 400")  # Long enough to press a button.
        run = start(page)
        wait_for_state(page, run, "running")
        page.click("#stop-size")
        wait_for_state(page, run, "stopped")
        assert "step 200 of 200" in page.inner_text("#run-where")
        # What there is can be walked up to, at the size that it has.
        page.wait_for_selector(".zoom-state:has-text('64 × 85 px')")
        assert "As soon as it is finished" not in page.inner_text("#look")


@pytest.mark.slow
def test_a_queue_of_three(address: str, pictures: dict[str, Path]) -> None:
    with opened(address) as page:
        choose(page, pictures)
        short(page, size=192, iterations="400")
        first = start(page)
        wait_for_state(page, first, "running")
        others = [start(page), start(page)]
        page.wait_for_selector("#queue li >> nth=2")
        page.wait_for_selector("#run-state:has-text('Waiting for its turn')")
        page.click("#remove")
        page.wait_for_function("() => document.querySelectorAll('#queue li').length === 2")
        page.goto(f"{address}#run={first}")
        wait_for_state(page, first, "running")
        page.click("#stop")
        # The one that waited is next.
        page.goto(f"{address}#run={others[0]}")
        wait_for_state(page, others[0], "running")
        page.click("#stop")
        wait_for_state(page, others[0], "stopped")


def test_by_keys_alone(address: str, pictures: dict[str, Path]) -> None:
    """From the top of the page to a plan: everything can be reached and pressed."""
    with opened(address) as page:
        choose(page, pictures)
        short(page)
        page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
        for _ in range(80):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.id") == "ask-plan":
                break
        else:
            pytest.fail("the button is not reached")
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
        page.keyboard.press("Enter")
        page.wait_for_selector("#paint")
        page.wait_for_function("() => document.activeElement.id === 'paint'")
        before = address_of(page)
        page.keyboard.press("Enter")
        wait_for_state(page, begun(page, before), "done")


def test_samples_and_seconds_on_an_empty_folder(address: str) -> None:
    with opened(address) as page:
        page.click("#samples")
        page.wait_for_selector("#styles .card:has-text('impasto.jpg')")
        page.get_by_label("In seconds").check()
        assert page.inner_text("#ask-plan") == "Paint in seconds"
        before = address_of(page)
        page.click("#ask-plan")
        wait_for_state(page, begun(page, before), "done")
        page.wait_for_selector(".zoom-state:has-text('960 × 720 px')")
        page.wait_for_selector(".command code:has-text('hires apply impasto uploads/harbour-')")


@pytest.mark.slow
def test_a_close_up_before_and_beside(address: str, pictures: dict[str, Path]) -> None:
    with opened(address) as page:
        choose(page, pictures)
        short(page, size=96)
        page.click("#ask-closeup")
        page.wait_for_selector("[data-name=size] .error:visible, #ask-error:visible")
        short(page, size=1600, min_size=1100, iterations="1, 1")
        page.set_default_timeout(4 * SECONDS)
        page.click("#ask-closeup")
        page.wait_for_selector("#closeup .closeup-scroll img")
        assert "768 × 768 px of 1200 × 1600" in page.inner_text("#closeup")
        wait_for_state(page, start(page), "done")
        page.click("#closeup-place")
        page.wait_for_function(
            "() => document.querySelector('.zoom-state').textContent.startsWith('100%')"
        )
