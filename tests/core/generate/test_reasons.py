from __future__ import annotations

import re

from miles_router.core.generate.reasons import RefusalReason, Uncached


def test_reasons_are_fit_to_be_labels_of_counters() -> None:
    assert all(re.fullmatch(r"[a-z][a-z_]+", reason) for reason in RefusalReason)
    assert all(reason.value == reason.name.lower() for reason in RefusalReason)


def test_the_error_names_its_reason() -> None:
    error = Uncached(RefusalReason.NO_PROMPT)
    assert (error.reason, str(error)) == (RefusalReason.NO_PROMPT, "no_prompt")
