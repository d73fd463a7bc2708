"""One self-contained HTML page: figures as embedded SVG pictures, tables, no script and nothing to load."""

from __future__ import annotations

import base64
import html
from typing import NamedTuple

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1180px; margin: 2em auto; padding: 0 1.2em; color: #222; }
h1 { font-size: 1.6em; } h2 { font-size: 1.15em; margin-top: 2em; }
.seen { max-width: 85ch; margin: 0.5em 0; } figure { margin: 0; } img { width: 100%; height: auto; }
figcaption, .head { color: #555; max-width: 85ch; } figcaption { font-size: 13px; } pre { font-size: 12.5px; }
.scroll { overflow-x: auto; max-height: 32em; } table { border-collapse: collapse; font-size: 12.5px; }
th, td { padding: 2px 9px; text-align: right; white-space: nowrap; border-bottom: 1px solid #e4e4e4; }
th { position: sticky; top: 0; background: #fff; } td:last-child, th:last-child { text-align: left; }
.words td, .words th { text-align: left; vertical-align: top; } .words td { white-space: normal; }
"""


class Section(NamedTuple):
    """One figure of the page."""

    title: str
    said: list[str]
    """Paragraphs: what is seen, then how it is drawn."""
    svg: bytes


def page(
    title: str,
    head: list[str],
    sections: list[Section],
    tables: list[tuple[str, str]],
    source: str,
    first: list[tuple[str, str]] | None = None,
) -> str:
    """The page as HTML.

    Args:
        title: plain text.
        head: lines of plain text under the title.
        sections: the figures.
        tables: (title, HTML of the table).
        source: the study's file, shown at the end.
        first: tables before the figures.
    """
    parts = [
        "<!doctype html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>',
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>',
        f"<h1>{html.escape(title)}</h1>",
        *(f'<p class="head">{html.escape(line)}</p>' for line in head),
    ]
    parts += [_table(name, table) for name, table in first or []]
    for section in sections:
        picture = base64.b64encode(section.svg).decode()
        *seen, drawn = (html.escape(line) for line in section.said)
        parts += [
            f"<h2>{html.escape(section.title)}</h2>",
            *(f'<p class="seen">{line}</p>' for line in seen),
            f'<figure><img alt="{html.escape(section.title)}" src="data:image/svg+xml;base64,{picture}">',
            f"<figcaption>{drawn}</figcaption></figure>",
        ]
    parts += [_table(name, table) for name, table in tables]
    parts.append(f"<h2>The study's file</h2><pre>{html.escape(source)}</pre>")
    return "\n".join([*parts, "</body></html>"]) + "\n"


def _table(name: str, table: str) -> str:
    return f'<h2>{html.escape(name)}</h2><div class="scroll">{table}</div>'
