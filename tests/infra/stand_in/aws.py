"""The rules of the aws provider, as far as buckets go."""

from typing import Final

from tests.infra.stand_in.rules import Rules

AWS: Final = Rules(
    ids={
        "aws_s3_bucket": "{bucket}",
        "aws_s3_bucket_cors_configuration": "{bucket}",
        "aws_s3_bucket_lifecycle_configuration": "{bucket}",
        "aws_s3_bucket_policy": "{bucket}",
        "aws_s3_bucket_public_access_block": "{bucket}",
        "aws_s3_bucket_server_side_encryption_configuration": "{bucket}",
        "aws_s3_bucket_versioning": "{bucket}",
    },
    immutable=frozenset({"bucket", "bucket_prefix", "expected_bucket_owner"}),
    invented={"arn": "arn:aws:s3:::{bucket}", "bucket_domain_name": "{bucket}.s3.amazonaws.com"},
)
