"""What the sweep does for the capacity contract: pools filled, lost agents' nodes replaced, what is over forgotten."""

from collections import Counter

from functions.apis.capacity.enrolments import forget_enrolments
from functions.apis.capacity.lost_agents import see_to_agents
from functions.apis.capacity.reconciliation import see_to_pools
from functions.app import App


def keep_up(app: App, limit: int) -> Counter[str]:
    """Return how many `pools` were seen to, machines `created` and `released`, and `records_forgotten`.

    Lost agents first: their nodes are missing, and the pools are to know. Raises Unavailable.
    """
    forgotten = see_to_agents(app, app.clock(), limit) + forget_enrolments(app, limit)
    return see_to_pools(app, app.clock(), limit) + Counter(records_forgotten=forgotten)
