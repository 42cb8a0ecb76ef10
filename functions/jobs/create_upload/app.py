"""POST /v1/uploads: a link to upload a picture to that is too large to send in a request."""

from robotchat.aws.answers import new_upload
from robotchat.aws.api import Endpoint
from robotchat.views import Upload, UploadRequest

handler = Endpoint(scope="images")


@handler.post("/v1/uploads", status_code=201)
def create_upload(request: UploadRequest) -> Upload:
    return new_upload(request, handler.tenant)
