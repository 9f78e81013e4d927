"""Encoders by name: which weights they get, which texts they cut, what holds for each family."""

from __future__ import annotations

import json

import pytest
import torch

from rali.errors import InputError
from rali.student.encoders import (
    family_of,
    find_pretrained,
    image_tower,
    load_encoder,
)
from rali.student.from_open_clip import _default_weights, _is_cut, _parts, _traits_of_file
from small import SMALL, small_encoder


def test_default_weights_fit_the_activation():
    open_clip = pytest.importorskip("open_clip")
    assert _default_weights(open_clip, "ViT-L-14-336-quickgelu") == "openai"
    assert _default_weights(open_clip, "ViT-L-14") == "datacomp_xl_s13b_b90k"
    assert _default_weights(open_clip, "ViT-g-14") == "laion2b_s34b_b88k"
    assert _default_weights(open_clip, "ViT-H-14-quickgelu") == "dfn5b"
    assert _default_weights(open_clip, "coca_ViT-B-32") == "laion2b_s13b_b90k"  # not fine-tuned
    with pytest.raises(InputError, match="ViT-L-14-336-quickgelu"):
        _default_weights(open_clip, "ViT-L-14-336")


def test_unknown_encoders_and_weights_are_named(tmp_path):
    with pytest.raises(InputError, match="No encoder is called 'ViT-Q'"):
        load_encoder("ViT-Q")
    with pytest.raises(
        InputError, match=r"'x' of RN50 are neither a file nor one of its tags \(op"
    ):
        find_pretrained("RN50", "x")
    with pytest.raises(InputError, match="holds no nano weights"):
        find_pretrained("nano", str(tmp_path))


@pytest.mark.parametrize(
    ("name", "given", "weights"),
    [
        ("ViT-B-32", None, "datacomp_xl_s13b_b90k"),
        ("ViT-B/32", None, "datacomp_xl_s13b_b90k"),  # OpenAI's spelling
        ("ViT-B-32:laion2b_e16", None, "laion2b_e16"),
        ("ViT-B-32-quickgelu:openai", None, "openai"),
        ("ViT-B-32:laion2b_e16", "random", "random"),
        ("hf-hub:owner/model", None, "hf-hub:owner/model"),
    ],
)
def test_open_clips_own_spellings(name: str, given: str | None, weights: str):
    pytest.importorskip("open_clip")
    assert find_pretrained(name, given) == weights


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("ViT-B-32:best", None, "ViT-B-32 has no tag 'best'; it has openai"),
        ("ViT-B-32:openai", None, "Give --encoder ViT-B-32-quickgelu"),
        ("ViT-L-14", "openai", "Give --encoder ViT-L-14-quickgelu"),
        ("hf-hub:owner/model", "openai", "brings its own weights"),
        ("local-dir:nowhere", None, "nowhere has no open_clip_config.json"),
    ],
)
def test_spellings_that_cannot_be_meant(name: str, given: str | None, message: str):
    pytest.importorskip("open_clip")
    with pytest.raises(InputError, match=message):
        find_pretrained(name, given)


def test_a_file_of_weights_is_prepared_for_as_its_tags_are(tmp_path):
    """The values are those of the releases: Apple's MobileCLIP, Google's SigLIP, Meta's PE."""
    open_clip = pytest.importorskip("open_clip")
    half = (0.5, 0.5, 0.5)
    for name, mean, std, interpolation, mode in (
        ("MobileCLIP-S1", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "bilinear", "shortest"),
        ("ViT-B-16-SigLIP2", half, half, "bicubic", "squash"),
        ("PE-Core-B-16", half, half, "bilinear", "squash"),
        ("ViT-L-14:laion2b_s32b_b82k", half, half, "bicubic", "shortest"),
    ):
        traits = _traits_of_file(open_clip, *_parts(open_clip, name))
        expected = {"mean": mean, "std": std, "interpolation": interpolation, "resize_mode": mode}
        assert traits == expected
    file = tmp_path / "weights.pt"
    file.write_bytes(b"weights")
    for name, message in (
        ("ViT-L-14", "unlike laion2b_s32b_b82k"),
        ("ViT-L-14:openai", "another activation"),
        ("ViT-S-32", "does not tell how"),  # it has no tags
        ("timm/vit_base_patch16_224", r"unlike vit_base_patch16_224\.dino"),
    ):
        with pytest.raises(InputError, match=message):
            find_pretrained(name, str(file))
    assert find_pretrained("timm/vit_base_patch16_224.dino", str(file)) == str(file)


@pytest.mark.slow
def test_the_pixels_of_a_file_are_those_of_its_model(tmp_path):
    open_clip = pytest.importorskip("open_clip")
    model = open_clip.create_model("MobileCLIP-S1")
    file = tmp_path / "mobileclip.pt"
    torch.save(model.state_dict(), file)
    encoder = load_encoder("MobileCLIP-S1", str(file), text=False)
    preprocess = encoder.preprocess
    assert (preprocess.mean, preprocess.std) == ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    assert preprocess.interpolation == "bilinear"
    pixels = torch.rand(1, 3, preprocess.size, preprocess.size)
    torch.testing.assert_close(encoder.image(pixels), model.eval().encode_image(pixels))


def _local_dir(folder, weights: bool = True):
    open_clip = pytest.importorskip("open_clip")
    described = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
        "text_cfg": {
            "context_length": 8,
            "vocab_size": 49408,
            "width": 64,
            "heads": 1,
            "layers": 1,
        },
    }
    pixels = {"mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "bilinear"}
    folder.mkdir()
    config = {"model_cfg": described, "preprocess_cfg": pixels | {"resize_mode": "squash"}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    if weights:
        model = open_clip.CLIP(**described)
        torch.save(model.state_dict(), folder / "open_clip_pytorch_model.bin")
    return f"local-dir:{folder}"


def test_a_folder_of_open_clips_brings_weights_and_pixels(tmp_path):
    name = _local_dir(tmp_path / "clip")
    encoder = load_encoder(name)
    assert encoder.preprocess.std == (0.25, 0.25, 0.25)
    assert encoder.preprocess.resize_mode == "squash" and encoder.dim == 16
    assert encoder.text is not None and encoder.text.encode(["sharp"]).shape == (1, 16)
    (tmp_path / "clip" / "open_clip_config.json").unlink()  # a student's folder needs it no more
    rebuilt = image_tower(encoder.spec)
    rebuilt.load_state_dict(encoder.image.state_dict())
    pixels = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(rebuilt.eval()(pixels), encoder.image(pixels))
    with pytest.raises(InputError, match="could not be loaded"):
        load_encoder(_local_dir(tmp_path / "empty", weights=False))


def test_an_image_tower_is_rebuilt_without_the_hub():
    """open_clip would ask the Hub for the text tower of the first, and follow the second."""
    pytest.importorskip("open_clip")
    assert image_tower({"name": "roberta-ViT-B-32"}).output_dim == 512
    with pytest.raises(InputError, match="names the encoder 'hf-hub:somebody/model'"):
        image_tower({"name": "hf-hub:somebody/model"})


def test_packaged_nano_loads_and_its_text_tower_tells_faults_apart():
    encoder = load_encoder("nano")
    assert encoder.text is not None
    blur, blurring, noise, grain = torch.nn.functional.normalize(
        encoder.text.encode(
            [
                "The main problem is a serious blur that softens edges.",
                "It suffers from catastrophic blurring of the whole frame.",
                "It suffers from serious random noise over all surfaces.",
                "The main problem is catastrophic colour noise.",
            ]
        ),
        dim=-1,
    )
    assert min(blur @ blurring, noise @ grain) > max(blur @ noise, blurring @ grain) + 0.2


HUB = ("hf-hub:somebody/model", "local-dir:/tmp/model", "hf_hub:somebody/model", "somebody/model")


@pytest.mark.parametrize("place", HUB)
@pytest.mark.parametrize("kind", ["open_clip", "timm", "nano", "clip", "clip's pretrained"])
def test_a_models_config_is_not_followed_to_the_hub(kind, place, monkeypatch):
    import huggingface_hub

    def asked(*_, **__):
        raise AssertionError("the Hub was asked")

    for name in ("hf_hub_download", "snapshot_download"):
        monkeypatch.setattr(huggingface_hub, name, asked)
    trunk = {"trunk": place, "embed_dim": 8}
    vision = {"timm_model_name": place, "timm_model_pretrained": False, "image_size": 64}
    if kind == "clip's pretrained":
        vision |= {"timm_model_name": "test_vit", "timm_model_pretrained": True}
    spec = {
        "open_clip": {"name": place, "pretrained": None},
        "timm": {"name": "timm/x", "config": trunk},
        "nano": {"name": "nano", "config": trunk},
    }.get(kind, {"name": "clip", "embed_dim": 8, "quick_gelu": False, "vision_cfg": vision})
    if kind == "clip's pretrained":  # a student brings its weights
        image_tower(spec)
        return
    with pytest.raises(InputError, match=r"config\.json"):
        image_tower(spec)


def test_the_table_of_families():
    assert family_of("nano").packaged and not family_of("nano").casts
    assert family_of("ViT-L-14") is family_of("RN50") and family_of("RN50").casts
    assert find_pretrained("nano", "random") == "random"
    assert find_pretrained("nano").endswith("nano_weights")


def test_an_image_tower_is_rebuilt_from_its_spec():
    encoder = small_encoder()
    rebuilt = image_tower(encoder.spec)
    rebuilt.load_state_dict(encoder.image.state_dict())
    pixels = torch.randn(2, 3, 64, 64)
    assert torch.equal(rebuilt.eval()(pixels), encoder.image(pixels))


def test_texts_longer_than_the_context_are_cut():
    tower = small_encoder().text
    assert tower is not None
    assert not tower.is_truncated("a " * SMALL.text.context)
    assert tower.is_truncated("a " * (SMALL.text.context + 1))
    open_clip = pytest.importorskip("open_clip")
    tokenizer = open_clip.get_tokenizer("RN50")  # 77 tokens, of which two mark start and end
    assert not _is_cut(tokenizer, 77, "a " * 75)
    assert _is_cut(tokenizer, 77, "a " * 76)
    # Other tokenizers only return padded ids.
    assert not _is_cut(lambda texts: tokenizer(texts), 77, "a " * 74)
    assert _is_cut(lambda texts: tokenizer(texts), 77, "a " * 76)
