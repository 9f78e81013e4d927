"""Encoders by name: which weights they get, which texts they cut, what holds for each family."""

from __future__ import annotations

import pytest
import torch

from rali.errors import InputError
from rali.student.encoders import (
    family_of,
    find_pretrained,
    image_tower,
    load_encoder,
)
from rali.student.from_open_clip import _default_weights, _is_cut
from small import SMALL, small_encoder


def test_default_weights_fit_the_activation():
    open_clip = pytest.importorskip("open_clip")
    assert _default_weights(open_clip, "ViT-L-14-336-quickgelu") == "openai"
    assert _default_weights(open_clip, "ViT-L-14") == "laion400m_e31"
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
