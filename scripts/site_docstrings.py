"""Docstrings of options on the documentation site. mkdocs.yml names this file.

The string under a field of a configuration is its help on the command line, plain text. In
Markdown, flags become code, and brackets stay brackets instead of becoming links. The default is
told as well.
"""

from __future__ import annotations

import re
from typing import Any

from griffe import Attribute, ExprCall, Extension

# A flag, or an upper-case word with optional parts.
_CODE = re.compile(r"(?<![\w`-])(--[a-z][a-z-]*|[A-Z_]+(?:\[[^\s;]+\])+)")


class PlainHelp(Extension):
    """Marks up help texts."""

    def on_attribute(self, *, attr: Attribute, **_: Any) -> None:
        """Mark up the docstring of a field, if it has one."""
        if attr.docstring is None:
            return
        default = _default(attr)
        told = f" Default: `{default}`." if default else ""
        attr.docstring.value = _CODE.sub(r"`\1`", attr.docstring.value) + told


def _default(attr: Attribute) -> str:
    """What a field is unless it is given; of those of `Config`, in the preset hires."""
    value = attr.value
    if isinstance(value, ExprCall):
        is_option = str(value.function) == "option"
        return str(value.arguments[0]) if is_option else ""
    decorators = getattr(attr.parent, "decorators", [])
    is_field = any("dataclass" in str(decorator.value) for decorator in decorators)
    return str(value).strip("()\n ") if is_field and value is not None else ""
