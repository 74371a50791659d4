"""ComfyUI's page in Chromium: example workflows made, opened, run and photographed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from comfyui_workflows import EXAMPLES, Prompt

WINDOW = {"width": 1600, "height": 1000}
PATIENCE = 900_000  # ms
# Of every graph: laid out from left to right, its values read back as they would be queued.
_LAY_OUT = """
async ([prompt, name]) => {
  await app.loadApiJson(prompt, name)
  await new Promise(done => setTimeout(done, 500))
  for (const node of app.graph._nodes) {
    const [width, height] = node.computeSize()
    node.setSize([Math.max(width, 320), Math.max(height, node.type === "LoadImage" ? 340 : 0)])
  }
  app.graph.arrange(60)
  return app.graph.serialize()
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
() => {
  const box = [1e9, 1e9, -1e9, -1e9]
  for (const node of app.graph._nodes) {
    const [x, y, width, height] = node.getBounding()
    box[0] = Math.min(box[0], x); box[1] = Math.min(box[1], y)
    box[2] = Math.max(box[2], x + width); box[3] = Math.max(box[3], y + height)
  }
  const view = app.canvas.ds, margin = 40
  const [wide, high] = [innerWidth - 2 * margin - 60, innerHeight - 2 * margin - 60]
  view.scale = Math.min(wide / (box[2] - box[0]), high / (box[3] - box[1]), 1)
  view.offset[0] = (margin + 60) / view.scale - box[0]
  view.offset[1] = (margin + 50) / view.scale - box[1]
  app.canvas.setDirty(true, true)
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
        page = browser.new_page(viewport=WINDOW)
        page.set_default_timeout(PATIENCE)
        page.goto(address)
        page.wait_for_function("() => window.app?.graph && window.app.extensionManager")
        page.wait_for_timeout(3000)
        page.keyboard.press("Escape")  # Templates are offered to those who come first.
        page.evaluate(_WATCH)
        for name, prompt in EXAMPLES.items():
            file = examples / f"{name}.json"
            if write:
                workflow = page.evaluate(_LAY_OUT, [prompt, name])
                file.write_text(json.dumps(workflow, indent=1) + "\n", encoding="utf-8")
            workflow = json.loads(file.read_text(encoding="utf-8"))
            _require_same(page.evaluate(_OPEN, workflow), prompt, name)
            found[name] = _run(page, out / f"{name}.png", small)
        browser.close()
    return found


def _run(page: Any, picture: Path, small: dict[str, Any]) -> dict[str, Any]:
    page.evaluate(_SET, small)
    page.evaluate("() => Object.assign(window.told, {progress: 0, previews: 0, ended: null})")
    page.evaluate("() => app.queuePrompt(0)")
    page.wait_for_function("() => window.told.ended")
    page.wait_for_timeout(3000)
    page.evaluate(_SHOW)
    page.wait_for_timeout(1500)
    page.screenshot(path=str(picture))
    told: dict[str, Any] = page.evaluate("() => window.told")
    assert told["ended"] == "success", told
    return {name: told[name] for name in ("progress", "previews")}


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
