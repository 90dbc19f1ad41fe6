"""The form of the documents that are read: in camel case, with more members than are used."""

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class CamelDocument(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel)
