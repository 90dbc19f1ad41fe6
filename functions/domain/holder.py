"""Who holds an order, in one text: `<account>/<name>`, and `#<identity>` of a launcher that says which one it is."""

from typing import Final

MARK: Final = "#"
"""No launcher's name has it."""


def holder_of(account: str, name: str, identity: str | None = None) -> str:
    """Return the text: two accounts' launchers of one name are two holders, and so are two identities."""
    return f"{account}/{name}" if identity is None else f"{account}/{name}{MARK}{identity}"


def are_one(one: str, other: str) -> bool:
    """Return whether two texts are of one launcher. If either has no identity, account and name decide.

    Launchers of earlier versions send none, and the orders that they claimed keep none.
    """
    (name, identity), (others_name, others_identity) = split_holder(one), split_holder(other)
    return name == others_name and (identity == others_identity or identity is None or others_identity is None)


def means(asked: str, holder: str) -> bool:
    """Return whether a question about `asked` is about `holder`: without an identity it is about all of its name."""
    return asked in (holder, split_holder(holder)[0])


def split_holder(holder: str) -> tuple[str, str | None]:
    """Return account and name as one text, and the identity, if there is one."""
    account, slash, rest = holder.rpartition("/")
    name, _, identity = rest.partition(MARK)
    return (f"{account}{slash}{name}", identity) if identity else (holder, None)
