"""A method for each type of event."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from opentelemetry import trace

from wakelog.events import AgentEvent
from wakelog.events.semconv import OPERATION_NAME
from wakelog.logger._evaluated import evaluated_by
from wakelog.logger._failures import payload_of
from wakelog.logger._refusing import Refusing
from wakelog.logger._request import payload_of_usage

if TYPE_CHECKING:
    from wakelog.logger._prices import Prices

Recorded = TypeVar("Recorded")


class EventMethods(Refusing, Generic[Recorded]):
    """The part of a logger that has a method for each type of event.

    Every method returns ``Recorded``: the event, or an awaitable of it.
    """

    prices: Prices | None
    """The price list, if costs are recorded."""

    @abc.abstractmethod
    def recorded(
        self, event_type: str, payload: dict[str, Any] | None = None, **fields: Any
    ) -> Recorded:
        """Do what ``emit`` does, under a name that subclasses of users do not override."""

    @abc.abstractmethod
    def _recorded_with(
        self,
        event_type: str,
        payload: dict[str, Any] | None,
        fields: dict[str, Any],
        tool_name: str | None = None,
    ) -> Recorded:
        """Do what ``recorded`` does, with the fields in a dict of the caller's own.

        Passing them on by keyword, twice, takes as long as creating the event.
        """

    @abc.abstractmethod
    def _finish(self, event: AgentEvent) -> Recorded:
        """Record an event, and return it or an awaitable of it."""

    def user_message(self, message: str, **fields: Any) -> Recorded:
        """Record a user's message."""
        return self._recorded_with("user_message", {"message": message}, fields)

    def system_instruction(self, instruction: str, **fields: Any) -> Recorded:
        """Record the agent's system instruction."""
        return self._recorded_with("system_instruction", {"instruction": instruction}, fields)

    def model_call(
        self,
        provider: str,
        model: str,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        payload: dict[str, Any] | None = None,
        **fields: Any,
    ) -> Recorded:
        """Record a request to a model."""
        counts = {"input_tokens": input_tokens, "output_tokens": output_tokens}
        data = {**(payload or {}), **_given(counts)}
        fields["provider"] = provider
        fields["model"] = model
        return self._recorded_with("model_call", data, fields)

    def model_response(
        self,
        provider: str | None = None,
        model: str | None = None,
        payload: dict[str, Any] | None = None,
        *,
        usage: Any = None,
        **fields: Any,
    ) -> Recorded:
        """Record a model's response.

        Args:
            provider: The model's provider.
            model: The requested model.
            payload: The response, and other facts about the call.
            usage: The client's usage object; values in ``payload`` take precedence.
            fields: As for every event.
        """
        data = {**payload_of_usage(usage), **(payload or {})}
        if self.prices is not None:
            from wakelog.logger._prices import add_cost  # loaded with the prices

            add_cost(data, model, provider, self.prices)
        fields["provider"] = provider
        fields["model"] = model
        return self._recorded_with("model_response", data, fields)

    def tool_call(
        self, tool_name: str, args: dict[str, Any] | None = None, **fields: Any
    ) -> Recorded:
        """Record the call of a tool."""
        data = {"args": {} if args is None else args}
        return self._recorded_with("tool_call", data, fields, tool_name)

    def tool_result(self, tool_name: str, result: Any = None, **fields: Any) -> Recorded:
        """Record the result of a tool."""
        return self._recorded_with("tool_result", {"result": result}, fields, tool_name)

    def retrieval_query(
        self, query: str, source: str | None = None, *, top_k: int | None = None, **fields: Any
    ) -> Recorded:
        """Record a search in a data source, with its maximum number of results."""
        data = {"query": query, "source": source, **_given({"top_k": top_k})}
        return self._recorded_with("retrieval_query", data, fields)

    def retrieval_result(
        self, source: str | None = None, result: Any = None, **fields: Any
    ) -> Recorded:
        """Record the result of a search."""
        return self._recorded_with("retrieval_result", {"source": source, "result": result}, fields)

    def policy_check(
        self, policy_name: str, status: str, payload: dict[str, Any] | None = None, **fields: Any
    ) -> Recorded:
        """Record the result of a policy check."""
        data = {"policy_name": policy_name, **(payload or {})}
        fields["status"] = status
        return self._recorded_with("policy_check", data, fields)

    def human_approval(
        self,
        approver: str | None = None,
        status: str = "requested",
        payload: dict[str, Any] | None = None,
        **fields: Any,
    ) -> Recorded:
        """Record a request for a person's approval, or the response."""
        data = {"approver": approver, **(payload or {})}
        fields["status"] = status
        return self._recorded_with("human_approval", data, fields)

    def decision(
        self,
        decision: str,
        requires_human_review: bool = False,  # noqa: FBT001, FBT002 - agentlogsafe's position
        **fields: Any,
    ) -> Recorded:
        """Record a decision of the agent."""
        data = {"decision": decision, "requires_human_review": requires_human_review}
        return self._recorded_with("decision", data, fields)

    def error(self, error: BaseException | str, **fields: Any) -> Recorded:
        """Record a failure.

        Args:
            error: The exception, or a description in words.
            fields: As for every event.
        """
        return self._recorded_with("error", payload_of(error), {"status": "error", **fields})

    def evaluation(
        self,
        name: str,
        score: float | None = None,
        label: str | None = None,
        explanation: str | None = None,
        *,
        of: AgentEvent | str | trace.Span | trace.SpanContext | None = None,
        run_id: str | None = None,
        response_id: str | None = None,
        payload: dict[str, Any] | None = None,
        **fields: Any,
    ) -> Recorded:
        """Record an evaluation by a person or a program, possibly long after the evaluated event.

        Args:
            name: The criterion: ``relevance``, ``user_feedback``.
            score: The result as a number.
            label: The result as one of a few words: ``pass``, ``thumbs_up``.
            explanation: The reason; content.
            of: The subject: an event, an event's id, a span or its context, or a
                ``traceparent``. Without it and ``run_id``, the open run or block.
            run_id: The evaluated run, or the run of the evaluated event or span.
            response_id: The provider's id of the evaluated response.
            payload: Anything else, as content.
            fields: As for every event.

        Raises:
            TypeError: If ``of`` is none of these, or if both score and label are missing.
        """
        if score is None and label is None and "error_type" not in (payload or {}):
            message = "an evaluation needs a score, a label, or payload={'error_type': ...}"
            raise TypeError(message)
        evaluated = evaluated_by(of, run_id)
        data = {
            "name": name,
            "score": score,
            "label": label,
            "explanation": explanation,
            "response_id": response_id or evaluated.response_id,
            **(payload or {}),
        }
        event = self.made("evaluation", _given(data), **{**evaluated.fields, **fields})
        if evaluated.fields:  # the open run and span are not the subject
            event.parent_event_id = evaluated.fields.get("parent_event_id")
            event.span_context = evaluated.span_context
        return self._finish(event)

    def sub_agent_invoked(
        self, agent_id: str, sub_thread_id: str | None = None, **fields: Any
    ) -> Recorded:
        """Record that another agent was called."""
        data = {"agent_id": agent_id, "sub_thread_id": sub_thread_id}
        return self._recorded_with("sub_agent_invoked", data, fields)

    def agent_handoff(self, from_: str | None, to: str, **fields: Any) -> Recorded:
        """Record that the conversation is handed over to another agent."""
        return self._recorded_with("agent_handoff", {"from": from_, "to": to}, fields)

    def resumed(self, from_checkpoint: str, **fields: Any) -> Recorded:
        """Record that a run resumes from a checkpoint, or from a new state if it is empty."""
        return self._recorded_with("resumed", {"from_checkpoint": from_checkpoint}, fields)

    def memory_recall(
        self,
        tier: str,
        namespace_key: str,
        hits: int,
        *,
        query: str | None = None,
        store: str | None = None,
        records: list[dict[str, Any]] | None = None,
        **fields: Any,
    ) -> Recorded:
        """Record a search in memory, with the number of records found.

        Args:
            tier: The kind of memory.
            namespace_key: The namespace, such as that of a user.
            hits: The number of records found.
            query: The query; content.
            store: The id of the memory store.
            records: The records found, ``{"content": ..., "id": ..., "score": ...}`` each; content.
            fields: As for every event.
        """
        data = {"tier": tier, "namespace_key": namespace_key, "hits": hits}
        more = _given({"query": query, "store": store, "records": records})
        return self._recorded_with("memory_recall", {**data, **more}, fields)

    def memory_write(
        self,
        operation: Literal["create", "update", "upsert", "delete"],
        count: int,
        *,
        store: str | None = None,
        record_id: str | None = None,
        records: list[dict[str, Any]] | None = None,
        attributes: dict[str, Any] | None = None,
        **fields: Any,
    ) -> Recorded:
        """Record a write to memory.

        Args:
            operation: The operation on the records.
            count: The number of records.
            store: The id of the memory store.
            record_id: The id of the record, if it is a single one.
            records: The written records, ``{"content": ..., "id": ...}`` each; content.
            attributes: Attributes besides those of the type.
            fields: As for every event.
        """
        data = {"count": count, "store": store, "record_id": record_id, "records": records}
        named = {OPERATION_NAME: f"{operation}_memory", **(attributes or {})}
        fields["attributes"] = named
        return self._recorded_with("memory_write", _given(data), fields)

    def usage_limit_exceeded(
        self, kind: str, limit: float, observed: float, **fields: Any
    ) -> Recorded:
        """Record that a budget was exceeded."""
        data = {"kind": kind, "limit": limit, "observed": observed}
        return self._recorded_with("usage_limit_exceeded", data, fields)

    def context_compacted(self, dropped_chars: int, retained_chars: int, **fields: Any) -> Recorded:
        """Record that the conversation was shortened."""
        data = {"dropped_chars": dropped_chars, "retained_chars": retained_chars}
        return self._recorded_with("context_compacted", data, fields)


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}
