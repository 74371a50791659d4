"""ComfyUI's page in Chromium: example workflows made, opened, run and photographed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from comfyui_workflows import EXAMPLES, Prompt
from PIL import Image

WIDTH, HEIGHT = 1600, 1000
PATIENCE = 900_000  # ms
GRAPH = {"x": 60, "y": 80, "width": 1540, "height": 920}  # where it is shown in the window
# Text is drawn, however small.
_SETTINGS = {
    "Comfy.Minimap.Visible": False,
    "LiteGraph.Canvas.MinFontSizeForLOD": 0,
}
# Columns of nodes by their types, their widths and heights; a height below 0 is added to what the
# node needs.
_COLUMNS = {
    "LoadImage": [0, 320, 340],
    "SolidMask": [1, 260, -10],
    "MaskComposite": [1, 260, -10],
    "InvertMask": [1, 260, -10],
    "HiresStylize": [2, 360, -300],
    "HiresApply": [2, 360, -10],
    "HiresPlan": [3, 360, -10],
    "PreviewImage": [4, 620, 520],
    "SaveImage": [4, 620, 520],
    "PreviewAny": [4, 760, 300],
}
_LAY_OUT = """
async ([prompt, name, columns]) => {
  await app.loadApiJson(prompt, name)
  await new Promise(done => setTimeout(done, 500))
  const gap = 60, placed = {}
  for (const node of app.graph._nodes) (placed[columns[node.type][0]] ??= []).push(node)
  let left = gap
  for (const column of Object.values(placed)) {
    let top = 1.5 * gap, widest = 0
    for (const node of column) {
      const least = node.computeSize(), [, width, height] = columns[node.type]
      node.setSize([width, height > 0 ? height : least[1] - height])
      node.pos = [left, top]
      top += node.size[1] + 1.5 * gap
      widest = Math.max(widest, width)
    }
    left += widest + gap
  }
  return JSON.stringify(app.graph.serialize(), null, 1)
}
"""
_OPEN = """
async workflow => {
  await app.loadGraphData(workflow)
  await new Promise(done => setTimeout(done, 500))
  const {output} = await app.graphToPrompt()
  return output
}
"""
_WATCH = """
() => {
  window.told = {progress: 0, previews: 0}
  app.api.addEventListener("progress_state", () => window.told.progress++)
  app.api.addEventListener("b_preview_with_metadata", () => window.told.previews++)
  app.api.addEventListener("execution_success", () => window.told.ended = "success")
  app.api.addEventListener("execution_error", e => window.told.ended = e.detail.exception_message)
}
"""
_SHOW = """
area => {
  const box = [1e9, 1e9, -1e9, -1e9]
  for (const node of app.graph._nodes) {
    const [x, y, width, height] = node.getBounding()
    box[0] = Math.min(box[0], x); box[1] = Math.min(box[1], y)
    box[2] = Math.max(box[2], x + width); box[3] = Math.max(box[3], y + height)
  }
  const view = app.canvas.ds, margin = 30
  const [wide, high] = [area.width - 2 * margin, area.height - 2 * margin]
  view.scale = Math.min(wide / (box[2] - box[0]), high / (box[3] - box[1]), 1)
  const {left, top} = app.canvas.canvas.getBoundingClientRect()
  view.offset[0] = (area.x + margin - left) / view.scale - box[0]
  view.offset[1] = (area.y + margin - top) / view.scale - box[1]
  app.canvas.setDirty(true, true)
  const width = (box[2] - box[0]) * view.scale, height = (box[3] - box[1]) * view.scale
  return {x: area.x, y: area.y, width: width + 2 * margin, height: height + 2 * margin}
}
"""
_SET = """
values => {
  for (const node of app.graph._nodes)
    for (const widget of node.widgets ?? [])
      if (node.type.startsWith("Hires") && widget.name in values) widget.value = values[widget.name]
}
"""


def in_browser(
    address: str, examples: Path, out: Path, *, write: bool, small: dict[str, Any]
) -> dict[str, Any]:
    """Open every example; run it, small, and photograph it.

    Args:
        address: of ComfyUI.
        examples: their folder.
        out: folder for the pictures of their graphs.
        write: make the examples anew first.
        small: values of widgets that make them quick.
    """
    from playwright.sync_api import sync_playwright

    found: dict[str, Any] = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.set_default_timeout(PATIENCE)
        page.goto(address)
        page.wait_for_function("() => window.app?.graph && window.app.extensionManager")
        page.wait_for_timeout(3000)
        for setting in _SETTINGS.items():
            page.evaluate("one => app.extensionManager.setting.set(...one)", [*setting])
        page.keyboard.press("Escape")  # Templates are offered to those who come first.
        page.evaluate(_WATCH)
        for name, prompt in EXAMPLES.items():
            file = examples / f"{name}.json"
            if write:
                made = page.evaluate(_LAY_OUT, [_numbered(prompt), name, _COLUMNS])
                file.write_text(made + "\n", encoding="utf-8")
            workflow = json.loads(file.read_text(encoding="utf-8"))
            _require_same(page.evaluate(_OPEN, workflow), prompt, name)
            values = dict(small)
            # A paper says how large the painting is.
            del values["size" if "paper" in str(prompt) else "dpi"]
            found[name] = _run(page, out / f"{name}.png", values)
            if write:
                _shrink(out / f"{name}.png", file.with_suffix(".jpg"))
        browser.close()
    return found


def _run(page: Any, picture: Path, small: dict[str, Any]) -> dict[str, Any]:
    page.evaluate(_SET, small)
    page.evaluate("() => Object.assign(window.told, {progress: 0, previews: 0, ended: null})")
    page.evaluate("() => app.queuePrompt(0)")
    page.wait_for_function("() => window.told.ended")
    page.wait_for_timeout(3000)  # Pictures are loaded.
    shown = page.evaluate(_SHOW, GRAPH)
    page.wait_for_timeout(1500)
    page.screenshot(path=str(picture), clip=shown)
    assert not page.locator(".p-toast-message").count(), "ComfyUI complains; see the picture"
    told: dict[str, Any] = page.evaluate("() => window.told")
    assert told["ended"] == "success", told
    return {name: told[name] for name in ("progress", "previews")}


def _numbered(prompt: Prompt) -> Prompt:
    """The same workflow with numbers for its nodes, as graphs have them."""
    numbers = {name: str(number) for number, name in enumerate(prompt, 1)}
    return {
        numbers[name]: {
            "class_type": node["class_type"],
            "inputs": {
                key: [numbers[value[0]], value[1]] if isinstance(value, list) else value
                for key, value in node["inputs"].items()
            },
        }
        for name, node in prompt.items()
    }


def _shrink(picture: Path, target: Path) -> None:
    """A picture of a graph, as ComfyUI shows it among its templates."""
    shown = Image.open(picture).convert("RGB")
    shown.thumbnail((1200, 1200))
    shown.save(target, quality=85)


def _require_same(opened: Prompt, wanted: Prompt, name: str) -> None:
    """A graph asks for what the workflow says: the same nodes, joined alike, with its values."""

    def told(prompt: Prompt, key: str) -> Any:
        return prompt[key]["class_type"], {
            name: told(prompt, str(value[0])) if isinstance(value, list) else value
            for name, value in prompt[key]["inputs"].items()
        }

    def holds(whole: Any, part: Any) -> bool:
        (kind, inputs), (other, given) = whole, part
        return kind == other and all(
            holds(inputs.get(key), value) if isinstance(value, tuple) else inputs.get(key) == value
            for key, value in given.items()
        )

    graphs = [told(opened, key) for key in opened]
    for key in wanted:
        assert any(holds(graph, told(wanted, key)) for graph in graphs), f"{name}: {key} differs"
    assert len(opened) == len(wanted), f"{name}: {len(opened)} nodes"
