"""The events of the log: a closed list. Operators alert on them, and tests wait for them.

A log line has the event as its field `event`, a sentence as `message`, and fields of its own beside them. A name here
is never changed once it was released; docs/operators.md says what each means and what to do about it.
"""

from enum import StrEnum


class LogEvent(StrEnum):
    # The control plane
    REQUEST_SERVED = "request_served"
    REQUEST_DEGRADED = "request_degraded"
    ACTION_FAILED = "action_failed"
    QUERY_REFUSED = "query_refused"
    DOCUMENTS_SKIPPED = "documents_skipped"
    BELL_NOT_RECORDED = "bell_not_recorded"
    BELL_NOT_RUNG = "bell_not_rung"
    POOL_SURPLUS = "pool_surplus"
    TCB_OUT_OF_DATE = "tcb_out_of_date"
    LATE_WORKER_ADOPTED = "late_worker_adopted"
    ORDER_GIVEN_BACK = "order_given_back"
    LOST_AGENT_POSTPONED = "lost_agent_postponed"
    # The launcher
