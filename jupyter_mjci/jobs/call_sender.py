"""Send any call: a submission exactly once, one that the server lacks by a fallback."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TypeVar, cast

from jupyter_mjci.client.calls import Call
from jupyter_mjci.client.job import Job
from jupyter_mjci.errors import Unsupported
from jupyter_mjci.jobs.endpoint_support import EndpointSupport
from jupyter_mjci.jobs.submission import Submitter
from jupyter_mjci.services import Api, Fallback, service

T = TypeVar("T")


class CallSender:
    """Sends calls, and remembers which endpoints the servers lack.

    Args:
        submitter: sends the calls
        apis: the API of each service, with which its fallbacks
            build calls
    """

    def __init__(self, submitter: Submitter, apis: Mapping[str, Api]) -> None:
        self._submitter = submitter
        self._client = submitter.client
        self._apis = apis
        self.endpoints = EndpointSupport()

    async def send(self, call: Call[T]) -> T:
        """Send a call and return its parsed response.

        Where the server lacks the endpoint, a fallback is used if
        there is one. That is remembered only after the fallback
        worked: then the address is that of such a service.
        """
        fallback = service(call.service).fallbacks.get(call.name)
        if fallback is None:
            return await self._submitter.send(call)
        unsupported = None
        if not self.endpoints.is_missing(call):
            try:
                value = await self._try_endpoint(call)
                self.endpoints.record_success(call)
                return value
            except Unsupported as error:
                unsupported = error
        value = await self._fall_back(fallback, call, unsupported)
        if unsupported is not None:
            self.endpoints.record_refusal(call, unsupported)
        return value

    async def submit(self, call: Call[Job], queue_timeout: float) -> Job:
        """Send a call of a job, which waits as many seconds for room in a full queue."""
        if call.name in service(call.service).fallbacks:
            return await self.send(call)
        return await self._submitter.send(call, queue_timeout)

    async def _try_endpoint(self, call: Call[T]) -> T:
        """Send a call; where it had no answer the last time, one attempt has to do."""
        if call.is_retryable and self.endpoints.is_doubtful(call):
            return await self._client.send_once(call)
        return await self._submitter.send(call)

    async def _fall_back(
        self, fallback: Fallback, call: Call[T], unsupported: Unsupported | None
    ) -> T:
        list_known = partial(self._client.journal.own_jobs, call.service)
        try:
            return cast(T, await fallback(call, self._apis[call.service], list_known))
        except Unsupported as error:
            raise unsupported or error from None
