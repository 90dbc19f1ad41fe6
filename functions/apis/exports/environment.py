"""The environment that an export's image expects: its task, the bucket's credentials, and where it reports its end."""

from collections.abc import Callable
from datetime import datetime

from functions.apis.exports.callbacks import CALLBACK
from functions.apis.exports.wire import Options
from functions.domain.order import Order, uploads_below, uploads_for
from functions.engine.environments import CallbackAddresses, Environment
from functions.ports.worker_credentials import CredentialIssuer
from shared.domain.spec import ExportSpec

NO_BATCH = "single"


def environment_of(
    order: Order, addresses: CallbackAddresses, issuer: CredentialIssuer, clock: Callable[[], datetime]
) -> Environment:
    """Return the environment of a held export; an empty one for our own worker. Raises Conflict.

    The credentials reach the order's own keys, for as long as its attempt may take.
    """
    prefix = uploads_below(order)
    if prefix is None or not isinstance(order.spec, ExportSpec):
        return Environment({})
    bucket = issuer.issue(prefix, clock(), uploads_for(order))
    variables = {
        "TASK_ID": order.id,
        "PI": order.spec.pi,
        "EXPORT_FORMAT": "mods",
        "EXPORT_OPTIONS": Options.of(order.spec.options).effective(),
        "BATCH_ID": order.spec.batch or NO_BATCH,
        "CALLBACK_URL": addresses.of(order, CALLBACK),
        "R2_ACCOUNT_ID": bucket.account_id,
        "R2_ACCESS_KEY_ID": bucket.access_key_id,
        "R2_SECRET_ACCESS_KEY": bucket.secret_access_key,
        "R2_BUCKET": bucket.bucket,
    }
    if bucket.endpoint is not None:
        variables["R2_ENDPOINT"] = bucket.endpoint
    if bucket.session_token is not None:
        variables |= {"R2_SESSION_TOKEN": bucket.session_token, "AWS_SESSION_TOKEN": bucket.session_token}
    return Environment(variables)
