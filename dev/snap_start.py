"""``python -m dev.snap_start > template-snap-start.yaml``: the template with SnapStart.

SnapStart works on published versions only, and SAM publishes them before any condition is known; so
it is not a parameter, but this overlay. It is for those functions whose callers wait for them and
which take longest to start. Build and deploy the result in place of ``template.yaml``
(``sam build -t``).
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

TEMPLATE = Path(__file__).resolve().parents[1] / "template.yaml"

FUNCTIONS = ("Authorizer", "Text2Image", "ChatCompletions", "Responses")

OVERLAY = """\
      AutoPublishAlias: live
      SnapStart: {ApplyOn: PublishedVersions}
"""


def with_snap_start(template: str) -> str:
    """The template with SnapStart for `FUNCTIONS`. Raises ValueError where one is not in it."""
    for name in FUNCTIONS:
        head = f"  {name}:\n    Type: AWS::Serverless::Function\n    Properties:\n"
        if template.count(head) != 1:
            raise ValueError(f"The template has no function {name}.")
        template = template.replace(head, head + OVERLAY)
    # API Gateway asks the version that has a snapshot, not the one that has not.
    return re.sub(
        r"FunctionArn: !GetAtt Authorizer\.Arn", "FunctionArn: !Ref AuthorizerAliaslive", template
    )


if __name__ == "__main__":
    sys.stdout.write(with_snap_start(TEMPLATE.read_text("utf-8")))
