"""Nodes for ComfyUI: Stylize, Apply and Plan.

ComfyUI finds them by a file of one line, or by a copy of this folder, in its `custom_nodes`
(docs/comfyui.md).
"""

from hires.comfyui.nodes import comfy_entrypoint

__all__ = ["comfy_entrypoint"]
