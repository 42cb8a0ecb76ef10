"""Completing a batch that fell short: what came is kept, and only the rest is drawn again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from robotchat.art.requests import Image2ImageRequest, Request
from robotchat.art.results import Drawing, DrawnImage, Missing
from robotchat.errors import UpstreamError


def fell_short(request: Request, drawing: Drawing) -> bool:
    """Whether some of the pictures came, and not all."""
    return not request.scripted and 0 < len(drawing.images) < request.count


def alone(request: Request, index: int) -> Request:
    """The request for one picture of a batch: the same picture that the batch would have had."""
    changes: dict[str, object] = {"batch_size": 1, "n_iter": 1}
    if request.subseed_strength:
        changes["subseed"] = request.subseed + index
    else:
        changes["seed"] = request.seed + index
    if isinstance(request, Image2ImageRequest):
        changes["init_images"] = [request.init_images[index % len(request.init_images)]]
    return request.model_copy(update=changes)


def completed(request: Request, drawing: Drawing, draw: Callable[[Request], Drawing]) -> Drawing:
    """The drawing with what is missing of it, as ``draw`` gives it, picture by picture.

    At the first that does not come by itself either, the rest is given up and noted as missing:
    the caller has what there is, and knows what there is not.
    """
    came = iter(drawing.images)
    images: list[DrawnImage] = []
    missing: list[Missing] = []
    lost = [*drawing.holes, *range(len(drawing.images) + len(drawing.holes), request.count)]
    failure: UpstreamError | None = None
    for index in range(request.count):
        if index not in lost:
            images.append(next(came))
            continue
        one = alone(request, index)
        if failure is None:
            try:
                images += draw(one).images
                continue
            except UpstreamError as error:
                failure = error
        missing.append(Missing(index, one.seed, failure))
    info = drawing.info
    if info:
        told = {
            "infotexts": [image.infotext for image in images],
            "all_seeds": [image.seed for image in images],
            "index_of_first_image": 0,
        }
        info = {**info, **told}
    return replace(drawing, images=images, missing=missing, holes=(), info=info)
