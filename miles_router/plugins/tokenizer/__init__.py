"""The tokenizer of the model behind the workers, as the token cache needs it.

`load_tokenizer` adapts one of transformers to `core.tokenizing.Tokenizer`; `read_expert_shape`
reads from the same place how wide the rows of routed experts are. transformers is imported only
when one of them is called.

    loading -> adapting -> adapter      which tokenizer, how to use it, its use
    encoding, fitting                   text to ids, and the part of the text for each
    table, spelling, utf8               ids to text, and the part of the text for each
    gguf, shape                         what else a model's files say
"""

from __future__ import annotations

from .loading import load_tokenizer
from .shape import read_expert_shape

__all__ = ["load_tokenizer", "read_expert_shape"]
