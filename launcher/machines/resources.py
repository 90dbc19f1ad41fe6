"""What a machine takes of its host, and what the host has: the same few figures."""

from typing import Self

from pydantic import BaseModel, ConfigDict


class Resources(BaseModel):
    """`disk_mib` is what a machine's directory may grow to; a TDX key is held for as long as a TD runs."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    machines: int = 0
    memory_mib: int = 0
    vcpus: int = 0
    disk_mib: int = 0
    tdx_keys: int = 0
    gpus: int = 0

    def __add__(self, other: Self) -> Self:
        return type(self)(**{name: value + getattr(other, name) for name, value in self})

    def times_in(self, room: Self) -> int:
        """Return how often this much fits into the room; 0 where there is none."""
        return min((max(getattr(room, name), 0) // value for name, value in self if value > 0), default=0)

    def most(self, other: Self) -> Self:
        """Return the more of the two, of each thing."""
        return type(self)(**{name: max(value, getattr(other, name)) for name, value in self})

    def left_of(self, whole: Self) -> Self:
        """Return what is left of the whole once this much of it is taken: less than nothing where it was too much."""
        return type(self)(**{name: getattr(whole, name) - value for name, value in self})
