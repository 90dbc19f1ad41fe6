"""What the local stack's own processes read from the environment."""

from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class S3Settings(BaseSettings):
    """The secret that presigned URLs of the local S3 are signed with: not in the argv, which anyone may read."""

    model_config = SettingsConfigDict(env_prefix="LAUNCHYARD_S3_")

    secret: SecretStr
