"""Notes what a function asks of AWS, so that it can be compared with what its role allows.

The Lambda host puts this folder on the path of its functions when it is to record. Each line of
``$ROBOTCHAT_RECORD/<function>.txt`` is an IAM action and the variable that names what it was done
to: ``dynamodb:PutItem TABLE_NAME``. Links count as what they let others do. A queue that no
variable names is noted by its own name, and what else none names as ``-``. Each line of
``<function>.dynamodb`` is one request to DynamoDB, with the kinds of the records that it names:
``GetItem job``, ``TransactWriteItems conversation,job,tenant``, ``Query owner hosts``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

_SEEN: set[str] = set()
_NAMES = ("TableName", "Bucket", "QueueUrl", "SecretId")
_IAM = {"ListObjectsV2": "ListBucket", "DeleteObjects": "DeleteObject"}


def _note(action: str, parameters: Mapping[str, Any]) -> None:
    place = next((parameters[name] for name in _NAMES if name in parameters), None)
    if place is None and "RequestItems" in parameters:
        place = next(iter(parameters["RequestItems"]))
    if place is None and "Entries" in parameters:
        place = parameters["Entries"][0].get("EventBusName")
    named = next((name for name, value in os.environ.items() if value == place), None)
    if named is None:
        named = str(parameters["QueueUrl"]).rpartition("/")[2] if "QueueUrl" in parameters else "-"
    line = f"{action} {named}\n"
    if line not in _SEEN:
        _SEEN.add(line)
        folder = os.environ["ROBOTCHAT_RECORD"]
        function = os.environ["ROBOTCHAT_RECORD_AS"]
        with open(os.path.join(folder, f"{function}.txt"), "a", encoding="utf-8") as file:
            file.write(line)


def _count(operation: str, parameters: Mapping[str, Any]) -> None:
    folder = os.environ["ROBOTCHAT_RECORD"]
    function = os.environ["ROBOTCHAT_RECORD_AS"]
    line = f"{operation} {_kinds(parameters)}\n"
    # Many processes write here: one write of few bytes to the end of a file is never torn.
    with open(os.path.join(folder, f"{function}.dynamodb"), "ab", buffering=0) as file:
        file.write(line.encode())


def _kinds(parameters: Mapping[str, Any]) -> str:
    """What kinds of records a request is about: what their partition keys begin with."""
    if "IndexName" in parameters:
        partition = parameters["ExpressionAttributeValues"][":p"]["S"]
        tenants = partition.endswith("#jobs")
        return f"{parameters['IndexName']} {'jobs' if tenants else partition.partition('#')[0]}"
    if "RequestItems" in parameters:
        keys = [key for some in parameters["RequestItems"].values() for key in some["Keys"]]
    else:
        inner = [next(iter(item.values())) for item in parameters.get("TransactItems", ())] or [
            parameters
        ]
        keys = [one.get("Key") or one.get("Item") for one in inner]
    found = {key["pk"]["S"].partition("#")[0] for key in keys if key is not None}
    return ",".join(sorted(found))


def _record(service: str, operation: str, parameters: Mapping[str, Any]) -> None:
    if operation == "TransactWriteItems":
        for item in parameters["TransactItems"]:
            ((kind, inner),) = item.items()
            action = "ConditionCheckItem" if kind == "ConditionCheck" else f"{kind}Item"
            _note(f"{service}:{action}", inner)
        return
    _note(f"{service}:{_IAM.get(operation, operation)}", parameters)


class _WhenLoaded(MetaPathFinder):
    """Changes botocore when a function imports it: most never do, and it takes its time."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in ("botocore.client", "botocore.signers"):
            return None
        sys.meta_path.remove(self)
        try:
            spec = find_spec(name)
        finally:
            sys.meta_path.insert(0, self)
        if spec is None or spec.loader is None:
            return spec
        load = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            load(module)
            (_client if name == "botocore.client" else _signers)(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _client(module: Any) -> None:
    call = module.BaseClient._make_api_call

    def recorded(self: Any, operation: str, parameters: Mapping[str, Any]) -> Any:
        service = self.meta.service_model.service_name
        _record(service, operation, parameters)
        if service == "dynamodb":
            _count(operation, parameters)
        try:
            return call(self, operation, parameters)
        except module.ClientError as error:
            if operation == "GetObject" and error.response["Error"]["Code"] == "NoSuchKey":
                # To who may not list, S3 says that it is forbidden, whether or not it is there.
                _note("s3:ListBucket", parameters)
            raise

    module.BaseClient._make_api_call = recorded


def _signers(module: Any) -> None:
    sign = module.generate_presigned_url

    def recorded(self: Any, ClientMethod: str, Params: Any = None, **more: Any) -> str:
        operation = self.meta.method_to_api_mapping[ClientMethod]
        _record(self.meta.service_model.service_name, operation, Params or {})
        return str(sign(self, ClientMethod, Params, **more))

    module.generate_presigned_url = recorded


if "ROBOTCHAT_RECORD" in os.environ:
    sys.meta_path.insert(0, _WhenLoaded())
