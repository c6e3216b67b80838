"""What of pasted text gets into a field: one line of visible characters.

What was copied may hold colours of a terminal, line ends and characters without a width; none of
them is meant, and a field would show and send them. Nothing here knows which field it is for.
"""

from __future__ import annotations

import re
import unicodedata

from rich.cells import cell_len

# Sequences that steer a terminal, with all that they say: strings up to their end, then those with
# parameters, then the short ones; each also in the form that begins with one character beyond 127.
_SEQUENCES = re.compile(
    r"(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f]).*?(?:\x07|\x1b\\|\x9c|$)"
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
    r"|\x1b[ -/]*[0-~]?",
    re.DOTALL,
)


def one_line(text: str) -> str:
    """`text` without what cannot be seen; line ends and tabs are blanks, none at either end."""
    plain = _SEQUENCES.sub("", text)
    joined = unicodedata.normalize("NFC", " ".join(plain.split()))
    return "".join(one for one in joined if one.isprintable() and cell_len(one) > 0)
