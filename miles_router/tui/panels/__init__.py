"""What stands around the tables: heads, totals, the token cache, one worker, an empty pool."""

from miles_router.tui.panels.cache import cache_lines, hit_share
from miles_router.tui.panels.empty import add_by_cli, add_by_curl, empty_pool_lines, waiting_lines
from miles_router.tui.panels.head import Tile, head_line, link_banner, tile_line, tiles
from miles_router.tui.panels.worker import detail_lines

__all__ = [
    "Tile",
    "add_by_cli",
    "add_by_curl",
    "cache_lines",
    "detail_lines",
    "empty_pool_lines",
    "head_line",
    "hit_share",
    "link_banner",
    "tile_line",
    "tiles",
    "waiting_lines",
]
