"""Where pixels themselves are touched: other file formats, and masks.

Pillow is loaded when a function here is called, since most functions never do.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Literal

from robotchat.errors import InvalidImage

if TYPE_CHECKING:
    from PIL.Image import Image

FileFormat = Literal["png", "jpeg", "webp"]

_USER_COMMENT, _EXIF_IFD, _ORIENTATION = 0x9286, 0x8769, 0x0112


def converted(
    data: bytes, file_format: FileFormat, *, compression: int = 100, infotext: str = ""
) -> bytes:
    """A picture file in another format.

    ``compression`` is OpenAI's `output_compression`: the quality of JPEG and WebP, from 0 to 100.
    ``infotext`` goes where the SD web UI puts it: into PNG's `parameters`, and into the user
    comment of the others' Exif. What is transparent becomes white in JPEG, which knows no alpha.
    """
    from PIL import Image, PngImagePlugin

    image = _opened(data)
    file = io.BytesIO()
    if file_format == "png":
        text = PngImagePlugin.PngInfo()
        if infotext:
            text.add_text("parameters", infotext)
        image.save(file, "PNG", pnginfo=text)
        return file.getvalue()
    exif = Image.Exif()
    if infotext:
        comment = b"UNICODE\0" + infotext.encode("utf-16-be")
        exif.get_ifd(_EXIF_IFD)[_USER_COMMENT] = comment
    if file_format == "jpeg":
        _opaque(image).save(file, "JPEG", quality=max(compression, 1), exif=exif)
    else:
        image.save(file, "WEBP", quality=compression, exif=exif)
    return file.getvalue()


def repaint_mask(mask: bytes, image_file: bytes, *, param: str) -> bytes:
    """OpenAI's mask (transparent: change) as the SD web UI's (white: change), a grey PNG.

    ``mask`` is a picture file with transparent places, of the size of the image as it is shown, or
    as it lies in its file: then it is turned as the image's Exif says. Raises InvalidImage when
    its size is another one, or nothing is transparent.
    """
    from PIL import ImageChops, ImageOps

    image = ImageOps.exif_transpose(_opened(mask, param))
    whole = _opened(image_file)
    size = ImageOps.exif_transpose(whole).size
    if image.size != size and image.size == whole.size:
        image.getexif()[_ORIENTATION] = whole.getexif()[_ORIENTATION]
        image = ImageOps.exif_transpose(image)
    if image.size != size:
        width, height = image.size
        raise InvalidImage(
            f"The mask is {width}x{height} pixels, the picture {size[0]}x{size[1]}; "
            "they must be of one size.",
            param=param,
        )
    alpha = image.convert("RGBA").getchannel("A")
    if alpha.getextrema() == (255, 255):
        raise InvalidImage(
            "The mask has no transparent place: what is transparent in it is drawn anew.",
            param=param,
        )
    file = io.BytesIO()
    ImageChops.invert(alpha).save(file, "PNG")
    return file.getvalue()


def stretched(data: bytes, size: tuple[int, int]) -> bytes:
    """A picture file as a PNG of exactly that width and height."""
    from PIL import Image

    image = _opened(data)
    plain = image if image.mode in ("RGB", "RGBA", "L") else image.convert("RGBA")
    file = io.BytesIO()
    plain.resize(size, Image.Resampling.LANCZOS).save(file, "PNG")
    return file.getvalue()


def plain_image(data: bytes) -> bytes:
    """A picture to begin with, as the SD web UI reads it: upright, white where it is transparent;
    an RGB PNG. Raises InvalidImage."""
    return _rgb_png(_opaque(_upright(data)))


def plain_mask(data: bytes) -> bytes:
    """A mask as the SD web UI reads it: its transparency if it has any, else how bright it is;
    white is drawn anew. An RGB PNG. Raises InvalidImage."""
    image = _upright(data)
    if has_transparency(data):
        alpha = image.convert("RGBA").getchannel("A")
        return _rgb_png(alpha.point(lambda value: 255 if value > 128 else 0))
    return _rgb_png(image.convert("L"))


def transparent_mask(mask: bytes) -> bytes:
    """The SD web UI's mask (white: change) as OpenAI's (transparent: change), a PNG.

    ``mask`` is a grey picture file.
    """
    from PIL import Image, ImageChops

    grey = _opened(mask).convert("L")
    alpha = ImageChops.invert(grey)
    file = io.BytesIO()
    Image.merge("RGBA", (grey, grey, grey, alpha)).save(file, "PNG")
    return file.getvalue()


def grey_mask(mask: bytes, size: tuple[int, int], *, invert: bool = False, blur: int = 0) -> bytes:
    """A mask as the SD web UI reads it (white: change), made one grey PNG of that size.

    ``invert``: black is what is to change; ``blur`` is in pixels. Raises InvalidImage.
    """
    from PIL import ImageChops, ImageFilter

    grey = _opened(plain_mask(mask)).convert("L")
    if invert:
        grey = ImageChops.invert(grey)
    if blur:
        grey = grey.filter(ImageFilter.GaussianBlur(blur))
    if grey.size != size:
        grey = grey.resize(size)
    file = io.BytesIO()
    grey.save(file, "PNG")
    return file.getvalue()


def fitted(data: bytes, size: tuple[int, int]) -> bytes:
    """A picture file in another size, its edges cut where its shape is another; a PNG."""
    from PIL import Image, ImageOps

    file = io.BytesIO()
    ImageOps.fit(_opened(data), size, Image.Resampling.LANCZOS).save(file, "PNG")
    return file.getvalue()


def has_transparency(data: bytes) -> bool:
    """Whether any pixel of a picture file is transparent."""
    image = _opened(data)
    if image.mode not in ("RGBA", "LA", "PA", "P"):
        return False
    return image.convert("RGBA").getchannel("A").getextrema() != (255, 255)


def _opened(data: bytes, param: str | None = None) -> Image:
    from PIL import Image

    try:
        image = Image.open(io.BytesIO(data))
        image.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InvalidImage("The picture cannot be decoded.", param=param) from error
    return image


def _upright(data: bytes) -> Image:
    from PIL import ImageOps

    return ImageOps.exif_transpose(_opened(data))


def _rgb_png(image: Image) -> bytes:
    file = io.BytesIO()
    image.convert("RGB").save(file, "PNG")
    return file.getvalue()


def _opaque(image: Image) -> Image:
    from PIL import Image as module

    if image.mode in ("RGB", "L"):
        return image
    whole = image.convert("RGBA")
    ground = module.new("RGB", whole.size, (255, 255, 255))
    ground.paste(whole, mask=whole.getchannel("A"))
    return ground
