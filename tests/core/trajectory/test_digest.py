from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from miles_router.core.trajectory.digest import EMPTY_DIGEST, digest_of, extend_digest


@given(parts=st.lists(st.binary(max_size=9)))
def test_a_digest_grows_with_its_text(parts: list[bytes]) -> None:
    digest = EMPTY_DIGEST
    for part in parts:
        digest = extend_digest(digest, part)
    assert digest == digest_of(b"".join(parts))


def test_texts_have_digests_of_their_own() -> None:
    texts = [b"", b"\0", b"a", b"b", b"ab", b"ba", *(b"text %d" % n for n in range(10_000))]
    digests = {digest_of(text) for text in texts}
    assert len(digests) == len(texts)
    assert min(digests) >= 0
    assert max(digests) < 2**64
