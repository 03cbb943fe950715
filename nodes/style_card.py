"""What the page shows of styles: their names and pictures."""

from __future__ import annotations

import base64


def style_ui(styles: list) -> dict:
    """One card a style; the picture travels inside, since it is a few kilobytes. No picture: an empty text.
    No styles: nothing."""
    cards = []
    for style in styles:
        picture = (
            "data:image/jpeg;base64," + base64.b64encode(style.thumbnail).decode() if style.thumbnail else ""
        )
        cards.append({"name": style.name, "picture": picture, "network": style.network[:12]})
    return {"personatalk_styles": cards} if cards else {}
