"""The fake's behaviour, which tests set: what it denies, what fails, and how long its pages are."""

from dataclasses import dataclass, field


@dataclass
class Behaviour:
    """Each refusal is for the paths that begin with a text, such as `pubsub/` or `storage/storage/v1/b/outputs`."""

    denied: set[str] = field(default_factory=set)
    """Answered with 403, as to a caller without the role."""
    failing: dict[str, tuple[int, int | None]] = field(default_factory=dict)
    """Answered with this status: this number of times, or always."""
    silent: set[str] = field(default_factory=set)
    """Not answered: the connection is closed."""
    page_size: int = 5
    """Lists end their pages here, however many the caller asks for, as Google's may."""

    def failure(self, path: str) -> int | None:
        """Return the status with which the next request for a path fails, and count it."""
        for prefix, (status, left) in self.failing.items():
            if path.startswith(prefix) and left != 0:
                self.failing[prefix] = (status, None if left is None else left - 1)
                return status
        return None

    def denies(self, path: str) -> bool:
        return any(path.startswith(prefix) for prefix in self.denied)

    def is_silent(self, path: str) -> bool:
        return any(path.startswith(prefix) for prefix in self.silent)
