"""The text that names an order's holder: `<account>/<name>`, and `#<identity>` if the launcher sends one."""

from typing import Final

MARK: Final = "#"
"""A launcher's name cannot contain it."""


def holder_of(account: str, name: str, identity: str | None = None) -> str:
    """Return the holder's text. Launchers of one name are different holders if their account or identity differs."""
    return f"{account}/{name}" if identity is None else f"{account}/{name}{MARK}{identity}"


def are_one(one: str, other: str) -> bool:
    """Return whether two texts name the same launcher. If either has no identity, account and name decide.

    Launchers of earlier versions send no identity, and the orders that they claimed have none.
    """
    (name, identity), (others_name, others_identity) = split_holder(one), split_holder(other)
    return name == others_name and (identity == others_identity or identity is None or others_identity is None)


def means(asked: str, holder: str) -> bool:
    """Return whether `asked` includes `holder`. Without an identity, `asked` includes all launchers of its name."""
    return asked in (holder, split_holder(holder)[0])


def split_holder(holder: str) -> tuple[str, str | None]:
    """Return account and name as one text, and the identity or None."""
    account, slash, rest = holder.rpartition("/")
    name, _, identity = rest.partition(MARK)
    return (f"{account}{slash}{name}", identity) if identity else (holder, None)


def name_of(holder: str) -> str:
    """Return the launcher's name alone."""
    return split_holder(holder)[0].rpartition("/")[2]


def account_of(holder: str) -> str:
    """Return the account whose launcher it is."""
    return split_holder(holder)[0].rpartition("/")[0]
