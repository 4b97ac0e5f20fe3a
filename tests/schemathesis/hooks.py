"""Keeps a case away from what would spoil the others."""

import os

import schemathesis

# The id of the key that this run presents, and the tenant that it is of, if any.
OWN = "key_" + os.environ["CALLER_KEY"].split("_")[1]
TENANT = os.environ.get("CALLER_TENANT")


@schemathesis.hook
def before_call(context, case, kwargs):
    path, given = case.operation.path, case.path_parameters or {}
    # The path of a subscription named batch is described apart, and takes POST as well.
    if path.endswith("/subscriptions/{id}") and given.get("id") == "batch":
        given["id"] = "other"
    # Whoever deletes or limits its own key, or revokes its own tenant, is refused from then on.
    if path.endswith("/keys/{id}") and given.get("id") == OWN:
        given["id"] = "key_0000000000"
    if path.endswith("/revocations") and TENANT and isinstance(case.body, dict) and case.body.get("tenant") == TENANT:
        case.body["tenant"] = "other"
