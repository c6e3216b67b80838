"""Token ids to text and back, with SGLang's rules of what an answer's text leaves out.

`output_ids` keeps everything; the text loses a matched stop token or stop string (unless
`no_stop_trim`) and special tokens (unless `skip_special_tokens` is false). A stream also holds back
an incomplete character and a text end that may become a stop string.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError

from .params import RequestError

if TYPE_CHECKING:
    from .sequences import Sequence

# SentencePiece tokenizers drop the leading space of a text that is decoded alone; the last tokens
# of the prompt give the answer its context (SGLang does the same with 5 tokens).
_CONTEXT_TOKENS = 5
_INCOMPLETE = "\ufffd"


class Speller:
    """A Hugging Face tokenizer, seen from a worker."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Token ids of a text, with a BOS where the tokenizer adds one."""
        return list(self.tokenizer(text, add_special_tokens=add_special_tokens).input_ids)

    def chat_text(self, messages: list[dict[str, object]]) -> str:
        """Messages in the model's chat template, ready for its answer.

        Raises:
            RequestError: there is no template, or it refuses the messages.
        """
        try:
            text = self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True
            )
        except (ValueError, TypeError, KeyError, TemplateError) as error:
            raise RequestError(f"the chat template cannot render messages: {error}") from error
        return str(text)

    def spell(self, ids: list[int], *, skip_special_tokens: bool = False) -> str:
        """The text of some ids."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=skip_special_tokens))

    def text(self, seq: Sequence) -> str:
        """The text that the answer shows now."""
        params, finish = seq.params, seq.finish
        matched = finish.get("matched") if finish else None
        trimmed = isinstance(matched, int) and not params.no_stop_trim
        text = self._in_context(seq, seq.output_ids[:-1] if trimmed else seq.output_ids)
        if finish is None:
            return _presentable(text, () if params.no_stop_trim else params.stop)
        if isinstance(matched, str) and (at := text.find(matched)) >= 0:
            return text[: at + len(matched)] if params.no_stop_trim else text[:at]
        return text

    def matched_stop(self, seq: Sequence) -> str | None:
        """The first of the request's stop strings that the newest tokens complete."""
        if not seq.params.stop:
            return None
        # Every token has at least one byte, so this many tokens hold any of the stop strings.
        window = 1 + max(len(stop.encode()) for stop in seq.params.stop)
        tail = self.spell(seq.output_ids[-window:])
        return next((stop for stop in seq.params.stop if stop in tail), None)

    def _in_context(self, seq: Sequence, output_ids: list[int]) -> str:
        context = seq.prompt_ids[-_CONTEXT_TOKENS:]
        skip = seq.params.skip_special_tokens
        before = self.spell(context, skip_special_tokens=skip)
        return self.spell(context + output_ids, skip_special_tokens=skip)[len(before) :]


def _presentable(text: str, stops: tuple[str, ...]) -> str:
    """`text` without an end that later tokens may change or take away."""
    text = text.rstrip(_INCOMPLETE)
    held = max((_overlap(text, stop) for stop in stops), default=0)
    return text[: len(text) - held]


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that begins `stop`."""
    longest = min(len(text), len(stop))
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
