"""Widgets that redraw only what changed and never cause a layout."""
