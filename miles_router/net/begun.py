"""A request that the express has begun: sent to a worker, and watched without a task.

Its answer is waited for in a callback. One that comes whole is passed on to the client at once, and
that ends the request; one in chunks is passed on as they come (`begun_stream`). Everything else is
for the task of the client's connection: an answer of another kind or size, the end of either side,
a deadline, an abort. That takes the request up where it stands, with the bytes that came so far,
and goes on as with any other (`attempt`).

Invariant: the lease is released once: here at the end, or by the task that took the request up.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from miles_router.errors import WorkerFault
from miles_router.net.begun_stream import BegunStream
from miles_router.net.plan import MOST_HEAD_BYTES, cut
from miles_router.net.readiness import LEFT

if TYPE_CHECKING:
    from miles_router.core.admission import Lease
    from miles_router.core.inflight import Running
    from miles_router.net.answer_heads import ClientHead
    from miles_router.net.express import Express
    from miles_router.net.framing import Framing
    from miles_router.net.lane import Lane
    from miles_router.net.passing import Passage
    from miles_router.net.plan import Plan
    from miles_router.net.reading import AnswerHead
    from miles_router.net.upstream import Connection

# In the scope of a request that is taken up: what was begun.
BEGUN_KEY = "miles_router.begun"
READ_BYTES = 262_144
# Larger answers are passed on as they come: a client that is slow is to slow its worker.
# One that comes at once is read at once, with its head: what is there is told of only once.
MOST_ANSWER_BYTES = READ_BYTES - MOST_HEAD_BYTES


class Begun(msgspec.Struct, eq=False):
    """One request, from the moment it has a lease."""

    express: Express
    lane: Lane
    plan: Plan
    body: bytes
    lease: Lease
    running: Running
    connection: Connection | None  # None: there was none idle
    sent_at: float
    unsent: bytes | memoryview = b""  # what of the request the kernel had no room for
    passage: Passage | None = None  # what changes its answer, once begun
    answered_at: float = 0.0  # when the first bytes of the answer came
    read_at: float = 0.0  # ... and when its last bytes did
    own_s: float = 0.0  # what the router took to pass the answer on; 0 while that is not over
    status: int = 0  # of the answer that is passed on
    answer_bytes: int = 0  # of its body, if it came whole
    stream: BegunStream | None = None  # ... and if it comes in chunks
    stopped: Exception | None = None  # why it is to end
    fault: WorkerFault | None = None  # what is wrong with the answer
    is_over: bool = False  # or taken up by a task
    _is_read: bool = False  # llhttp has the answer's bytes
    _head: ClientHead | None = None
    _collected: list[bytes] = []  # of an answer whose head is known
    _missing_bytes: int = 0  # of it
    _unwritten: bytes | memoryview = b""  # of an answer that has come whole

    def __repr__(self) -> str:  # prompts stay out of logs and tracebacks
        return f"<Begun {self.running.request_id} on {self.lease.worker.url}>"

    @property
    def framing(self) -> Framing | None:
        """Of an answer whose head is with the client, but not all of it."""
        return None if self.stream is None else self.stream.framing

    @property
    def is_answered(self) -> bool:
        """The worker has said all of its answer, and may not be told to stop."""
        return bool(self.status) if self.stream is None else self.stream.is_complete

    # -- the answer -------------------------------------------------------------------------------

    def on_ready(self, events: int) -> None:
        """The worker has sent something, or closed the connection."""
        if self.stream is not None:
            self.stream.on_ready(self, events)
            return
        if self.status:
            return  # what comes behind an answer is found before the connection is used again
        connection = self.connection
        assert connection is not None, "it is what is ready"
        try:
            data = os.read(connection.descriptor, READ_BYTES)
        except BlockingIOError:
            return
        except OSError:  # whoever reads next finds the connection's end
            data = b""
        if not data:
            self.hand_over()
            return
        self.note_read()
        if self._collected:
            self._collect(data)
        else:
            self.answered_at = self.read_at
            self._begin_answer(data, connection)
        # The end is told of with the bytes before it, and not again; what is left, not at all.
        if self.stream is not None:
            if events & LEFT or len(data) == READ_BYTES:
                self.stream.read_again(self)
        elif events & LEFT and not self.status:
            self.hand_over()

    def note_read(self) -> None:
        """The worker has said something."""
        now = self.read_at = self.express.now()
        self.lease.worker.last_bytes_at = now

    def _begin_answer(self, data: bytes, connection: Connection) -> None:
        known = cut(data)
        if known is None:
            self._read_answer(data, connection)
            return
        key, end, length = known
        head = self.express.heads.get(self.lease.worker.id, key)
        if head is None:
            self._read_answer(data, connection)
            return
        missing_bytes = end + length - len(data)
        if not missing_bytes:
            self._pass_whole(head, [data], end)
            return
        self._head = head
        self._collected = [data]
        self._missing_bytes = missing_bytes
        if missing_bytes < 0 or length > MOST_ANSWER_BYTES or self._is_timed:
            self.hand_over()

    def _collect(self, data: bytes) -> None:
        """The next piece of an answer whose head is known."""
        self._collected.append(data)
        self._missing_bytes -= len(data)
        if self._missing_bytes > 0:
            return
        known, head = cut(self._collected[0]), self._head
        if self._missing_bytes or known is None or head is None:
            self.hand_over()
            return
        self._pass_whole(head, self._collected, known[1])

    def _pass_whole(self, head: ClientHead, collected: list[bytes], end: int) -> None:
        """An answer has come whole; the first of its pieces holds its head, up to `end`."""
        body: list[bytes | memoryview] = [memoryview(collected[0])[end:], *collected[1:]]
        self.answer_bytes = sum(map(len, body))
        if self.passage is not None:
            whole = b"".join(body)
            changed = self.passage.answer(self.lease.worker.id, whole) if head.is_json else None
            if changed is None:
                self._collected = collected
                self.hand_over()
                return
            body = [changed]
        start = head.write(sum(map(len, body)), self._id)
        self._pass_on(b"".join((start, *body)), head.status)

    def _read_answer(self, data: bytes, connection: Connection) -> None:
        """An answer whose head is new: llhttp reads it."""
        self._is_read = True
        found = None
        try:
            found = self.express.heads.read(connection, data, self._id)
        except WorkerFault as fault:
            self.fault = fault
        is_whole = connection.is_received
        # Pauses have a deadline, which a task keeps; and the next answer to begin so is changed.
        if found is None or self.passage is not None or (self._is_timed and not is_whole):
            self.hand_over()
            return
        head, framing = found
        if not is_whole:
            self._begin_stream(head, framing, connection)
        else:
            body = b"".join(connection.take_chunks())
            self.answer_bytes = len(body)
            pieces = framing.body(body, is_last=True)
            self._pass_on(b"".join((framing.head, *pieces)), head.status)

    def _begin_stream(self, head: AnswerHead, framing: Framing, connection: Connection) -> None:
        """An answer in chunks: the first have come, or none yet."""
        self.status = head.status
        self.stream = BegunStream(connection, framing)
        self.express.note_started(self)
        self.stream.begin(self)

    @property
    def _is_timed(self) -> bool:
        """Whether a pause in the answer has a deadline, which a task keeps."""
        return self.express.services.settings.idle_timeout_s is not None

    @property
    def _id(self) -> bytes:
        return self.running.request_id.encode("latin-1")

    # -- the client -------------------------------------------------------------------------------

    def _pass_on(self, answer: bytes, status: int) -> None:
        """The answer has come whole: write it, and end with its last byte."""
        self.status = status
        self._unwritten = answer
        self.write_on()

    def write_on(self) -> None:
        """The client has room for more."""
        if self.stream is not None:
            self.stream.write_on(self)
            return
        rest = self._unwritten
        if not rest:
            return
        try:
            sent_bytes = os.write(self.lane.descriptor, rest)
        except BlockingIOError:
            sent_bytes = 0
        except OSError:
            self.lane.note_hangup()
            return
        if sent_bytes == len(rest):
            self._unwritten = b""
            self.express.conclude(self)
            return
        self.own_s = self.own_s or self.express.now() - self.read_at
        self._unwritten = memoryview(rest)[sent_bytes:]

    def note_client_left(self) -> None:
        """The client has closed its side: nothing more is owed to it; may be repeated."""
        if self.status and self.stream is None and not self.is_over:
            self.express.conclude(self)
        else:
            self.hand_over()

    # -- other ends -------------------------------------------------------------------------------

    def stop(self, reason: Exception) -> None:
        """End it with `reason`, as if that had happened where it waits (see `Running.stop`)."""
        if self.stream is not None:
            self.stopped = reason
            if self.stream.unwritten:  # these bytes will be missing
                self.lane.reset()
            self.hand_over()
        elif self.status:  # a part of the answer is out: only the connection's end can tell
            self.express.note_cut(self, reason)
            self.lane.reset()
            self.lane.note_hangup()
        else:
            self.stopped = reason
            self.hand_over()

    def hand_over(self) -> None:
        """Have it taken up by the task of the client's connection; may be repeated.

        Until the task runs, whoever stops the request still does it here.
        """
        if self.is_over:
            return
        if self.connection is not None:
            self._hand_over_answer(self.connection)
        self.is_over = True
        self.express.forget(self)
        self.lane.wake()

    def _hand_over_answer(self, connection: Connection) -> None:
        connection.watch.leave()
        if not self._is_read:
            self._is_read = True
            connection.begin(is_head=False)
            try:
                for piece in self._collected:
                    connection.take(piece)
            except WorkerFault as fault:
                self.fault = fault
        self._collected = []

    def fail(self) -> None:
        """See `readiness`."""
        self.lane.fail()

    def drop(self) -> None:
        """End it on both sides: the task that could take it up was cancelled."""
        if self.connection is not None:
            self.connection.watch.leave()
            self.connection.close()
        self.express.abandon(self)
        self.lane.reset()
