"""What a worker of the contract of ephemeral workers reads of its environment."""

from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.address import BaseUrl


class TaskSettings(BaseSettings):
    """`project_id` may be empty. `callback_url` may hold a credential in its path: no message shows it."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    callback_url: BaseUrl
    project_id: str


class TaskName(BaseSettings):
    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    task_id: str = ""
