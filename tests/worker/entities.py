"""The sample entities by name, and their records."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lxml import etree

from emulators.source import FOLDER
from shared.domain.spec import CheimarrosMode, ExportOptions, ExportSpec
from shared.guest.config import Sources
from worker.arke.source import ArkeSource
from worker.mods.document import NAMESPACE, writing
from worker.mods.holdings import gather
from worker.mods.record import record
from worker.network import Client
from worker.programs import Job, Result
from worker.programs.mods_export import export

EXPECTED: Final[dict[str, Any]] = json.loads((FOLDER / "expected.json").read_text())
PIS: Final[dict[str, str]] = {entity["key"]: entity["pi"] for entity in EXPECTED["entities"]}
PRESENT: Final[list[str]] = [entity["key"] for entity in EXPECTED["entities"] if entity["present"]]
UNDESCRIBED: Final = {entity["key"] for entity in EXPECTED["entities"] if entity.get("pinax_readable") is False}


@dataclass(frozen=True, slots=True)
class Exporter:
    """Exports of the sample source at `arke`, into `folder`."""

    http: Client
    arke: str
    folder: Path

    def export(
        self, key: str, ocr: bool = True, cheimarros: CheimarrosMode = CheimarrosMode.FULL, at: str | None = None
    ) -> Result:
        options = ExportOptions(include_ocr=ocr, cheimarros_mode=cheimarros)
        sources = Sources(api=at or self.arke, ipfs=at or self.arke)
        return export(Job(ExportSpec(pi=PIS[key], options=options), sources, self.http, self.folder))

    def published(self, key: str) -> Path:
        """Export with the links that a record has outside of tests."""
        source = ArkeSource(self.http, Sources(api=self.arke, ipfs=self.arke))
        file = self.folder / f"{key}.xml"
        with writing(file, collection=False) as records:
            records.add(PIS[key], record(gather(PIS[key], ExportOptions(), source), ExportOptions(), Sources()))
        return file


@dataclass(frozen=True, slots=True)
class Record:
    """A record that was written, for looking into."""

    root: "etree._Element"

    @classmethod
    def of(cls, result: Result) -> "Record":
        return cls(etree.parse(str(result.file)).getroot())

    def texts(self, path: str) -> list[str]:
        """Return the texts of the elements at an XPath; `m:` is the namespace of MODS."""
        return [element.text or "" for element in self._found(path)]

    def values(self, path: str) -> list[str]:
        return [str(value) for value in self._found(path)]

    def count(self, path: str) -> int:
        return len(self._found(path))

    def _found(self, path: str) -> list[Any]:
        found = self.root.xpath(path, namespaces={"m": NAMESPACE})
        assert isinstance(found, list)
        return found
