"""Detects that the server is about to end: requests that wait are then answered, so that it need not wait for them."""

import signal


def stopping() -> bool:
    """Return whether gunicorn's worker, in which this process serves, has been told to end.

    gunicorn calls no function of ours then, and only its main thread, which is not ours, may handle signals. But its
    handler of SIGTERM is a method of the worker, which notes there that it is no longer `alive`. Other servers end at
    once.
    """
    worker = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return getattr(worker, "alive", True) is False
