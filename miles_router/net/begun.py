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
from miles_router.net.plan import MOST_HEAD_BYTES
from miles_router.net.readiness import LEFT
from miles_router.net.wire import read_now

if TYPE_CHECKING:
    from miles_router.core.admission import Lease
    from miles_router.core.inflight import Running
    from miles_router.net.answer_heads import Counted
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
    read_at: float = 0.0  # ... and when its last bytes did; 0 once what followed is in `own_s`
    own_s: float = 0.0  # what the router took to pass on what it read
    status: int = 0  # of the answer that is passed on
    answer_bytes: int = 0  # of its body, if it came whole
    stream: BegunStream | None = None  # ... and if it comes in chunks
    is_answered: bool = False  # the worker has said all of it, and may not be told to stop
    unwritten: bytes | memoryview = b""  # what the client has not taken of what it is to get
    stopped: Exception | None = None  # why it is to end
    fault: WorkerFault | None = None  # what is wrong with the answer
    is_over: bool = False  # or taken up by a task
    _is_read: bool = False  # llhttp has the answer's bytes
    _counted: Counted | None = None  # an answer whose head is known
    _is_told: bool = False  # that the worker has said more, while the client took nothing

    def __repr__(self) -> str:  # prompts stay out of logs and tracebacks
        return f"<Begun {self.running.request_id} on {self.lease.worker.url}>"

    @property
    def framing(self) -> Framing | None:
        """Of an answer whose head is with the client, but not all of it."""
        return None if self.stream is None else self.stream.framing

    # -- the answer -------------------------------------------------------------------------------

    def on_ready(self, events: int) -> None:
        """The worker has sent something, or closed the connection."""
        if self.is_answered:
            return  # what comes behind an answer is found before the connection is used again
        if self.unwritten:  # a client that is slow is to slow its worker
            self._is_told = True
            return
        connection = self.connection
        assert connection is not None, "it is what is ready"
        data = read_now(connection.descriptor, READ_BYTES)
        if not data:
            if data is not None:
                self.hand_over()
            return
        now = self.read_at = self.express.now()
        self.lease.worker.last_bytes_at = now
        if self.stream is not None:
            self.stream.take(self, data)
        elif self._counted is not None:
            self._collect(self._counted, data)
        else:
            self.answered_at = now
            self._begin_answer(data, connection)
        # The end is told of with the bytes before it, and not again; what is left, not at all.
        if self.stream is not None:
            if events & LEFT or len(data) == READ_BYTES:
                self._read_again(connection)
        elif events & LEFT and not self.status:
            self.hand_over()

    def _read_again(self, connection: Connection) -> None:
        """Have what the worker said, or its end, told once more."""
        if self.unwritten:
            self._is_told = True
        elif not self.is_over:
            connection.watch.tell_again()

    def _begin_answer(self, data: bytes, connection: Connection) -> None:
        found = self.express.heads.begin(self.lease.worker.id, data)
        if found is None:
            self._read_answer(data, connection)
            return
        self._counted = found
        if not found.missing_bytes:
            self._pass_whole(found)
        elif found.missing_bytes < 0 or found.size_bytes > MOST_ANSWER_BYTES or self._is_timed:
            self.hand_over()

    def _collect(self, found: Counted, data: bytes) -> None:
        """The next piece of an answer whose head is known."""
        found.add(data)
        if not found.missing_bytes:
            self._pass_whole(found)
        elif found.missing_bytes < 0:
            self.hand_over()

    def _pass_whole(self, found: Counted) -> None:
        """An answer whose head is known has come whole."""
        head, body = found.head, found.body()
        self.answer_bytes = len(body)
        if self.passage is not None:
            changed = self.passage.answer(self.lease.worker.id, body) if head.is_json else None
            if changed is None:
                self.hand_over()
                return
            body = changed
        self._pass_on(head.write(len(body), self._id, body), head.status)

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
        """The answer has come whole."""
        self.status = status
        self.is_answered = True
        self.write(answer)

    def write(self, data: bytes) -> None:
        """Write to a client that has taken all that was written before; the last byte is the end.

        While it takes no more, its worker is not read: no more than one read is kept.
        """
        self.unwritten = data
        self.write_on()

    def write_on(self) -> None:
        """The client has room for more."""
        rest = self.unwritten
        if not rest:
            return
        try:
            sent_bytes = os.write(self.lane.descriptor, rest)
        except BlockingIOError:
            sent_bytes = 0
        except OSError:
            self.lane.note_hangup()
            return
        is_written = sent_bytes == len(rest)
        self.unwritten = b"" if is_written else memoryview(rest)[sent_bytes:]
        if is_written and self.is_answered:
            self.express.conclude(self)
            return
        self.note_own(self.express.now())
        if is_written and self._is_told and self.connection is not None:
            self._is_told = False
            self._read_again(self.connection)

    def note_own(self, now: float) -> None:
        """At `now`, what was read last has been passed on as far as the client takes it."""
        if self.read_at:
            self.own_s += now - self.read_at
            self.read_at = 0.0

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
            if self.unwritten:  # these bytes will be missing
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
                for piece in () if self._counted is None else self._counted.pieces:
                    connection.take(piece)
            except WorkerFault as fault:
                self.fault = fault
        self._counted = None

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
