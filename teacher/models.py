"""Loading a teacher, with bounds on a picture's pixels.

Any model that transformers loads as `AutoModelForImageTextToText` and TRL trains: Qwen2.5-VL,
Qwen3-VL, and others that take pictures in a chat.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from types import MethodType
from typing import TYPE_CHECKING, Any

from PIL import Image

from rali.errors import InputError, PictureError, require
from rali.files import read_json
from rali.pictures.read import open_picture
from rali.scoring.hub import download_folder

from .adapter import VISION, quantized

if TYPE_CHECKING:
    import torch
    from torch import nn

NANO = Path(__file__).parent / "nano_weights"


def teacher_place(model: str, revision: str = "") -> str:
    """The folder or Hub id that transformers loads; "nano" is the packaged teacher.

    `OWNER/NAME/FOLDER` is a folder in a Hub repository that holds several; it is downloaded. So is
    a revision, as TRL loads the model a second time, for the KL term, by its name alone.

    Args:
        revision: a branch, tag or commit of a Hub repository; empty takes the newest.

    Raises:
        InputError: this copy of rali has no nano teacher, or there is no such folder on the Hub.
    """
    check_place(model, revision)
    if model.count("/") > 1 and not Path(model).exists():
        owner, name, folder = model.split("/", 2)
        return str(download_folder(f"{owner}/{name}", folder, revision=revision or None))
    if revision:
        return str(download_folder(model, revision=revision))
    if model != "nano":
        return model
    if not (NANO / "model.safetensors").is_file():
        raise InputError(
            "This copy of rali comes without the nano teacher. To make one, run "
            "recipes/weights/make_nano_teacher.py; then give its folder instead."
        )
    return str(NANO)


def check_place(model: str, revision: str = "") -> None:
    """Refuse what can be no teacher, without asking the Hub.

    Raises:
        InputError: neither "nano", a folder nor a Hub id, or a revision of what is not on the Hub.
    """
    if Path(model).exists() or model == "nano":
        if revision:
            raise InputError(f"revision is for a model of the Hub, and {model} is none.")
        return
    owner, named, _ = model.partition("/")
    deep = model.count("/") > 1  # a local path with a typing error, if its first folder is here
    if not owner or not named or (deep and Path(owner).exists()):
        raise InputError(
            f"There is no teacher's folder {model}; give nano, a folder, or a Hub id such as "
            "Qwen/Qwen2.5-VL-7B-Instruct."
        )


def teacher_name(model: str) -> str:
    """A teacher's name in triplets: "nano", a Hub id, or a folder's name after its parent's."""
    path = Path(model)
    return "/".join(path.resolve().parts[-2:]) if path.is_dir() else model


def teacher_mark(model: str, revision: str = "") -> str:
    """What identifies a teacher: "nano", a Hub id, or a hash of a folder's weights.

    The hash is of each file's name and size, and of a MiB at its start, middle and end.

    Args:
        revision: as for `teacher_place`; it stands after the Hub id.
    """
    if model == "nano" or not Path(model).is_dir():
        return f"{model} revision {revision}" if revision else model
    digest = hashlib.sha256()
    for path in sorted(Path(model).glob("*.safetensors")):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}".encode())
        with path.open("rb") as file:
            for place in (0, size // 2, max(0, size - 2**20)):
                file.seek(place)
                digest.update(file.read(2**20))
    return digest.hexdigest()[:16]


MAX_RATIO = 200  # of the longer to the shorter side, in Qwen2-VL's smart_resize


def load_processor(
    model: str,
    *,
    min_pixels: int | None = None,
    max_pixels: int | None = None,
    revision: str = "",
) -> Any:
    """A teacher's processor, with bounds on a picture's pixels after its resize.

    Args:
        min_pixels, max_pixels: None keeps the processor's own; only Qwen's processors have such
            bounds, others resize in their own way.
        revision: as for `teacher_place`.

    Raises:
        InputError: there is no such model, it takes no pictures, or it is an adapter.
    """
    transformers = require("transformers", "teach")
    place = teacher_place(model, revision)
    for file in Path(place).glob("*.json"):
        read_json(file, "Copy the teacher's folder again.")
    try:
        # transformers would load the model that the adapter names, from wherever that is.
        if transformers.utils.find_adapter_config_file(place):
            raise InputError(
                f"{model} holds an adapter (adapter_config.json), which changes another model. "
                "Give the whole one: `rali teach` merges its own into RUN/model, peft's "
                "`merge_and_unload()` any other."
            )
        processor = transformers.AutoProcessor.from_pretrained(place, trust_remote_code=False)
        processor.image_processor.size  # noqa: B018 - a model without pictures has none
        content = [{"type": "image"}, {"type": "text", "text": "Rate it."}]
        asked = processor.apply_chat_template([{"role": "user", "content": content}])
        if "Rate it." not in asked or str(processor.image_token) not in asked:
            raise InputError(
                f"{model} cannot be loaded as a teacher: its chat template is damaged."
            )
    except InputError:
        raise
    except Exception as error:  # transformers raises many types for a damaged file
        raise InputError(f"{model} cannot be loaded as a teacher: {error}") from error
    if min_pixels is not None or max_pixels is not None:
        _bound_pixels(model, processor, min_pixels, max_pixels)
    processor.tokenizer.padding_side = "left"
    return processor


def _bound_pixels(model: str, processor: Any, least: int | None, most: int | None) -> None:
    if not _counts_pixels(processor):
        raise InputError(
            f"min_pixels, max_pixels: the processor of {model} resizes pictures in its own way "
            f"({dict(processor.image_processor.size)}); leave them out."
        )
    size = dict(processor.image_processor.size)
    size["shortest_edge"] = size["shortest_edge"] if least is None else least
    size["longest_edge"] = size["longest_edge"] if most is None else most
    if size["shortest_edge"] > size["longest_edge"]:
        raise InputError(
            f"min_pixels is {size['shortest_edge']:,} and max_pixels {size['longest_edge']:,}; "
            "min_pixels must not be above max_pixels."
        )
    processor.image_processor.size = size


def _counts_pixels(processor: Any) -> bool:
    """Whether a processor bounds a picture's pixels, as Qwen's do, and not its sides."""
    names = processor.image_processor.size
    pixels = "shortest_edge" in names and "longest_edge" in names
    return pixels and hasattr(processor.image_processor, "merge_size")


def load_teacher(
    model: str,
    *,
    dtype: str = "auto",
    min_pixels: int | None = None,
    max_pixels: int | None = None,
    revision: str = "",
    attn_implementation: str = "",
    quantization: str = "",
) -> tuple[Any, Any]:
    """A model and its processor.

    Args:
        model: "nano", a teacher's folder or a Hub id.
        dtype: "bfloat16", "float32", …, or "auto" for the weights' own.
        min_pixels, max_pixels, revision: as for `load_processor`.
        attn_implementation: transformers' name of how attention is computed ("sdpa",
            "flash_attention_2", …); empty leaves it to transformers.
        quantization: "4bit" holds the weights in 4 bits, for an adapter beside them.

    Raises:
        InputError: there is no such model, it takes no pictures, or it cannot be quantised here.
    """
    transformers = require("transformers", "teach")
    torch = require("torch", "teach")
    more = quantized(quantization)
    if attn_implementation:
        more["attn_implementation"] = attn_implementation
    processor = load_processor(
        model, min_pixels=min_pixels, max_pixels=max_pixels, revision=revision
    )
    try:
        loaded, how = transformers.AutoModelForImageTextToText.from_pretrained(
            teacher_place(model, revision),
            dtype=dtype if dtype == "auto" else getattr(torch, dtype),
            trust_remote_code=False,
            output_loading_info=True,
            **more,
        )
    except Exception as error:  # transformers raises many types for a damaged file
        raise InputError(f"{model} cannot be loaded as a teacher: {error}") from error
    if missing := sorted(how["missing_keys"]):  # they would be random numbers
        raise InputError(
            f"{model} cannot be loaded as a teacher: it lacks {len(missing)} of its weights, such "
            f"as {missing[0]}."
        )
    if not torch.cuda.is_available():
        flatten_patches(loaded)
        if loaded.dtype == torch.float16 and not quantization:
            loaded.float()  # CPUs have no fast arithmetic in half precision
    return loaded, processor


def vision_tower(model: Any) -> nn.Module:
    """The vision tower of a Qwen2.5-VL or Qwen3-VL, with its projector.

    Raises:
        InputError: the model is of another family, whose tower is not one module.
    """
    tower: nn.Module | None = getattr(model.model, "visual", None)
    if tower is None:
        raise InputError(
            f"A {model.config.model_type} has no vision tower that can be taken out; give a "
            "Qwen2.5-VL or a Qwen3-VL."
        )
    return tower


def vision_weights(model: Any) -> list[nn.Parameter]:
    """The weights of what looks at pictures, with what hands its tokens to the language model.

    Raises:
        InputError: none of the model's weights has a name that says so.
    """
    found = [weights for name, weights in model.named_parameters() if re.match(VISION, name)]
    if not found:
        raise InputError(
            f"rali does not know which weights of a {model.config.model_type} look at pictures; "
            "train all of them (vision: true, parts: all)."
        )
    return found


def thought_opening(processor: Any) -> str:
    r"""What a chat template writes of the answer itself: `<think>\n` in Thinking models, else "".

    A completion then lacks the opening tag, and stands after this text.
    """
    turns = [{"role": "user", "content": [{"type": "text", "text": "Rate it."}]}]
    prompt = processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    found = re.search(r"<think>\s*\Z", prompt)
    return found[0] if found else ""


def opened(path: Path) -> Image.Image:
    """A file as a picture for a processor, read by the same rules as every picture in rali.

    Raises:
        PictureError: the file cannot be read, or is too long and thin; it is named.
    """
    try:
        picture = Image.fromarray(open_picture(path))
    except PictureError as error:
        raise PictureError(f"{path}: {error}") from error
    if max(picture.size) > MAX_RATIO * min(picture.size):
        raise PictureError(
            f"{path}: The picture has {picture.width} × {picture.height} pixels; a teacher takes "
            f"one whose longer side is at most {MAX_RATIO} times the shorter."
        )
    return picture


def flatten_patches(model: Any) -> None:
    """Compute the patch embedding as a matrix product, as its kernel covers its whole input.

    On a CPU the convolution would be several times slower.
    """
    from torch import nn

    tower = getattr(getattr(model, "model", None), "visual", None)
    embed = getattr(tower, "patch_embed", None)
    if embed is not None and isinstance(getattr(embed, "proj", None), nn.Conv3d):
        embed.forward = MethodType(_product, embed)


def _product(self: Any, hidden_states: torch.Tensor) -> torch.Tensor:
    from torch import nn

    weight = self.proj.weight.flatten(1)
    return nn.functional.linear(hidden_states.flatten(1).to(weight.dtype), weight, self.proj.bias)


def pixels_of(processor: Any) -> tuple[int, int]:
    """The fewest and the most pixels of a picture after a processor's resize; (0, 0) for unknown.

    Processors but Qwen's resize in their own way, which no setting here changes.
    """
    size = processor.image_processor.size
    return (size["shortest_edge"], size["longest_edge"]) if _counts_pixels(processor) else (0, 0)
