"""Why a request or an answer passes the token cache by.

The values are labels of counters, so they stay as they are. Who counts, and what else happens to
such a request (it is relayed), is decided elsewhere.
"""

from __future__ import annotations

from enum import StrEnum


class RefusalReason(StrEnum):
    """One cause each; the first that is found names the refusal."""

    # Requests that go to the worker as they came.
    NOT_JSON = "not_json"
    NOT_AN_OBJECT = "not_an_object"
    DUPLICATE_KEYS = "duplicate_keys"
    NO_PROMPT = "no_prompt"
    BAD_PROMPT = "bad_prompt"
    BAD_TEXT = "bad_text"
    BAD_INPUT_IDS = "bad_input_ids"
    EMBEDDINGS = "embeddings"
    MULTIMODAL = "multimodal"
    WORKER_SESSION = "worker_session"
    BATCH_SHAPE = "batch_shape"
    BAD_RID = "bad_rid"
    BAD_SAMPLING_PARAMS = "bad_sampling_params"
    BAD_FIELD = "bad_field"
    BODY_TOO_LARGE = "body_too_large"

    # Answers, or items of an answer, that are not stored.
    ANSWER_NOT_JSON = "answer_not_json"
    ANSWER_SHAPE = "answer_shape"
    WORKER_ERROR = "worker_error"
    NO_META_INFO = "no_meta_info"
    UNFINISHED = "unfinished"
    BAD_FINISH_REASON = "bad_finish_reason"
    QUEUE_ABORT = "queue_abort"
    NO_OUTPUT_IDS = "no_output_ids"
    BAD_OUTPUT_IDS = "bad_output_ids"
    OUT_OF_VOCABULARY = "out_of_vocabulary"
    COMPLETION_TOKENS = "completion_tokens"
    NO_PROMPT_TOKENS = "no_prompt_tokens"
    PROMPT_TOKENS = "prompt_tokens"
    PROMPT_TOKEN_IDS = "prompt_token_ids"  # noqa: S105 - tokens, not secrets
    BAD_ANSWER_TEXT = "bad_answer_text"
    NO_LOGPROBS = "no_logprobs"
    BAD_LOGPROBS = "bad_logprobs"
    LOGPROB_COUNT = "logprob_count"
    LOGPROB_IDS = "logprob_ids"
    WEIGHT_VERSIONS = "weight_versions"
    ENCODED = "encoded"
    ANSWER_TOO_LARGE = "answer_too_large"
    UNALIGNED_TEXT = "unaligned_text"


class Uncached(Exception):
    """The token cache has no part in this request or answer.

    Args:
        reason: why.
    """

    def __init__(self, reason: RefusalReason) -> None:
        super().__init__(reason.value)
        self.reason = reason
