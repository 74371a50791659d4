"""Docstrings of options on the documentation site. mkdocs.yml names this file.

The string under a field of a configuration is its help on the command line, plain text. In
Markdown, flags become code, and brackets stay brackets instead of becoming links.
"""

from __future__ import annotations

import re
from typing import Any

from griffe import Attribute, Extension

# A flag, or an upper-case word with optional parts.
_CODE = re.compile(r"(?<![\w`-])(--[a-z][a-z-]*|[A-Z_]+(?:\[[^\s;]+\])+)")


class PlainHelp(Extension):
    """Marks up help texts."""

    def on_attribute(self, *, attr: Attribute, **_: Any) -> None:
        """Mark up the docstring of a field, if it has one."""
        if attr.docstring is not None:
            attr.docstring.value = _CODE.sub(r"`\1`", attr.docstring.value)
