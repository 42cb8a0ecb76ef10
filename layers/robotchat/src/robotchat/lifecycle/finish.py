"""From the files that a host drew to those that are kept: their format, and the mark in them."""

from __future__ import annotations

from dataclasses import replace

from robotchat.art.requests import DrawRequest
from robotchat.art.results import Drawing, DrawnImage
from robotchat.errors import InvalidImage, UpstreamGarbage
from robotchat.marking import marked


def finished(drawing: Drawing, request: DrawRequest, *, mark: bool) -> Drawing:
    """The drawing as it is stored and answered.

    Pictures come in the format that was asked for, whatever the host draws, with the host's
    account of them kept as the format allows; and marked as a model's work when ``mark`` is set.
    Raises UpstreamGarbage when a host's file cannot be decoded after all.
    """

    def finish(image: DrawnImage) -> DrawnImage:
        data, content_type = image.data, image.content_type
        wanted = request.file_format
        if wanted is not None and content_type != f"image/{wanted}":
            from robotchat.pixels import converted

            try:
                data = converted(
                    data,
                    wanted,
                    compression=request.output_compression,
                    infotext=image.infotext,
                )
            except InvalidImage as error:
                raise UpstreamGarbage("The SD host's picture cannot be decoded.") from error
            content_type = f"image/{wanted}"
        if mark:
            data = marked(data, content_type, width=image.width, height=image.height)
        return replace(image, data=data, content_type=content_type)

    return replace(
        drawing,
        images=[finish(image) for image in drawing.images],
        extra_images=[finish(image) for image in drawing.extra_images],
    )
