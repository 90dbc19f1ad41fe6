"""A synthetic tree of entities, any number of them, made as they are asked for: nothing of it is kept in memory."""

from dataclasses import dataclass
from typing import Final

import httpx

from worker.network import Client

CHILDREN: Final = 20
PAGE: Final = "page-001.jpg.ref.json"
ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32."""
DIGITS: Final = 8
PI_PREFIX: Final = "01K9M00000000000ZZ"
ROOT: Final = f"{PI_PREFIX}{'0' * DIGITS}"

ENTITY: Final = """\
{"pi": "%s", "ver": 1, "ts": "2025-11-10T09:51:00.000Z", "manifest_cid": "bafkreimanifest%s",
"components": {"pinax.json": "bafkreipinax%s", %s}, "parent_pi": "%s", "children_pi": [%s]}"""
MORE: Final = ('"description.md": "bafkreidescription%s"', f'"{PAGE}": "bafkreipage%s"')
"""Every other entity has a description, and every other one a page: as many documents as in the sample tree."""
COMPONENTS: Final = {
    "pinax": """\
{"id": "%s", "title": "Field notebook", "type": "Text", "creator": ["Wen Aldous", "Idris Quell"],
"institution": "Ostrel Valley Heritage Archive", "created": "1899-05-02", "language": "en", "subjects": ["survey",
"valley", "levels"], "place": ["Ostrel Valley", "Kettle Ford"], "description": "Levels & angles, day by day.",
"access_url": "PLACEHOLDER", "source": "Archive", "rights": "No known copyright restrictions."}""",
    "description": "Notebook %s: levels, angles and weather, day by day, with sketches of the <lower> valley.",
    "page": """\
{"url": "https://cdn.arke.institute/%s.jpg", "ipfs_cid": "bafkreiimage", "type": "image/jpeg", "size": 481223,
"filename": "page-001.jpg", "ocr": "Chain 14 to 20, 40 links.\\n    Rain after noon.\\nLevel 31.4 at the ford."}""",
}


@dataclass(frozen=True, slots=True)
class SyntheticTree:
    """`size` entities, each with two components. Each has up to `children` children, breadth first."""

    size: int
    children: int = CHILDREN

    def entity(self, pi: str) -> bytes:
        number = _number(pi)
        first = number * self.children + 1
        children = ", ".join(f'"{_pi(child)}"' for child in range(first, min(first + self.children, self.size)))
        parent = _pi((number - 1) // self.children) if number else ""
        code = pi[-DIGITS:]
        more = MORE[number % 2] % code
        return (ENTITY % (pi, code, code, more, parent, children)).encode()

    def component(self, cid: str) -> bytes:
        kind = cid.removeprefix("bafkrei")[:-DIGITS]
        return (COMPONENTS[kind] % f"{PI_PREFIX}{cid[-DIGITS:]}").encode()

    def answer(self, request: httpx.Request) -> httpx.Response:
        """Answer at once, in the caller's thread: httpx.MockTransport calls it in place of the network."""
        route, name = request.extensions["target"].decode()[1:].split("/")
        body = self.entity(name) if route == "entities" else self.component(name)
        return httpx.Response(200, stream=httpx.ByteStream(body))

    def client(self) -> Client:
        return Client(httpx.MockTransport(self.answer))


def _pi(number: int) -> str:
    digits = (ALPHABET[number >> 5 * place & 31] for place in reversed(range(DIGITS)))
    return PI_PREFIX + "".join(digits)


def _number(pi: str) -> int:
    number = 0
    for digit in pi[-DIGITS:]:
        number = number << 5 | ALPHABET.index(digit)
    return number
