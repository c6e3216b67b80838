"""What the express has to know of a request, judged as for every other: by guard and front.

Only what would reach a worker as it came is planned; for everything else, errors included, the
request goes the long way. This file must not know sockets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from miles_router.core import headers as header_rules
from miles_router.core.request import PathClass, is_generation
from miles_router.errors import RouterError
from miles_router.net.plan import Plan
from miles_router.net.request_bytes import request_head
from miles_router.web.caller import matched
from miles_router.web.front import forwarded_target, session_key
from miles_router.web.guard import new_request_id, request_id_of

if TYPE_CHECKING:
    from miles_router.net.passing import Passing
    from miles_router.net.plain import Target
    from miles_router.net.request_head import RequestHead
    from miles_router.net.services import Services
    from miles_router.web.guard import Guard
    from miles_router.web.replies import Scope

_PLACE = b"\x00"  # stands in no head


class RequestPlanner:
    """See `net.express.Planner`."""

    def __init__(self, services: Services, guard: Guard, passing: Passing | None = None) -> None:
        """`passing`: of the middleware that takes part in the express for /generate."""
        self._passing = passing
        self._services = services
        self._guard = guard
        self.count = guard.count
        self.new_request_id = new_request_id

    def plan(self, scope: Scope, head: RequestHead, target: Target) -> Plan | None:
        """What a request asks for by its head; None if it is not for the express."""
        try:
            path, path_class = matched(scope)
            if scope["method"] != "POST" or not is_generation(path):
                return None
            caller = self._guard.caller_of(scope, path, path_class)
            forwarded = forwarded_target(scope)
        except RouterError:  # said on the long way
            return None
        forwards = self._services.settings.forward_authorization
        passing = self._passing if path_class is PathClass.GENERATE else None
        headers = scope["headers"] if passing is None else passing.headers(scope["headers"])
        kept = header_rules.to_worker(
            headers, request_id=_PLACE, api_key=None, forward_authorization=forwards
        )
        assert kept.pop()[1] == _PLACE, "the id of the request stands last"
        written = request_head("POST", forwarded, _PLACE.decode(), kept, framing=[])
        line, _, rest = written.removesuffix(b"\r\n\r\n").partition(_PLACE)
        return Plan(
            head=head,
            target=target,
            path=path,
            path_class=path_class,
            caller=caller,
            session=session_key(scope, caller),
            request_id=request_id_of(scope),
            line=line,
            rest=rest,
            takes_key=header_rules.first(kept, b"authorization") is None,
            passing=passing,
        )
