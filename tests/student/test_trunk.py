"""Image towers on timm's trunks: what is pooled, folded and loaded; spectra and hashed tokens."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch

from rali.errors import InputError
from rali.student.encoders import find_pretrained, image_tower, load_encoder
from rali.student.nano_text import tokenize
from rali.student.spectra import _cosines, statistics
from rali.student.student import Student, StudentConfig
from rali.student.trunk import TrunkConfig, TrunkEncoder, fold_normalisations


def test_the_block_spectrum_is_scipys_cosine_transform():
    from scipy.fft import dctn

    blocks = torch.randn(5, 1, 8, 8)
    found = torch.nn.functional.conv2d(blocks, _cosines(8)).reshape(5, 8, 8)
    assert found.numpy() == pytest.approx(
        dctn(blocks[:, 0].numpy(), axes=(1, 2), norm="ortho"), abs=1e-5
    )


def test_tokens_are_stable_and_cut():
    ids = tokenize(["Sharp, 3.4!", ""], context=3, buckets=8192)
    assert ids.shape == (2, 3) and ids[1].tolist() == [0, 0, 0]
    again = tokenize(["sharp , 3.4 !"], context=3, buckets=8192)
    assert torch.equal(ids[0], again[0])


def test_stages_are_pooled_to_means_and_deviations():
    features = torch.randn(3, 4, 5, 6)
    mean, deviation = statistics(features)
    torch.testing.assert_close(mean, features.mean((2, 3)))
    variance = features.var((2, 3), unbiased=False)
    torch.testing.assert_close(deviation, (variance + 1e-4).sqrt())


def test_a_transformers_tokens_are_pooled_to_class_mean_and_maximum():
    torch.manual_seed(0)
    encoder = TrunkEncoder(TrunkConfig("test_vit", embed_dim=8)).eval()
    pixels = torch.randn(2, 3, 160, 160)
    with torch.no_grad():
        tokens = encoder.trunk.forward_features(pixels)
        pooled = torch.cat(encoder.pooled(pixels), 1)
    patches = tokens[:, 1:]
    torch.testing.assert_close(
        pooled, torch.cat([tokens[:, 0], patches.mean(1), patches.amax(1)], 1)
    )
    assert encoder(pixels).shape == (2, 8)


@pytest.mark.parametrize(
    "name", ["test_efficientnet", "test_mambaout", "test_convnext2", "test_resnet"]
)
def test_folded_normalisations_give_the_same_features(name: str):
    torch.manual_seed(0)
    trunk = timm.create_model(name, features_only=True)
    for part in trunk.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.uniform_(-0.5, 0.5)
            part.running_var.uniform_(0.5, 2)
            part.weight.data.uniform_(0.5, 2)
            part.bias.data.uniform_(-0.5, 0.5)
    pixels = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        before = trunk.eval()(pixels)
        fold_normalisations(trunk)
        after = trunk(pixels)
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


@pytest.fixture
def packaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """A package that holds weights of test_resnet under names that are not timm's."""
    torch.manual_seed(1)
    state = timm.create_model("test_resnet").state_dict()
    folder = tmp_path / "weights_of_a_resnet"
    folder.mkdir()
    (folder / "__init__.py").touch()
    torch.save({f"{n} {k}": v for n, (k, v) in enumerate(state.items())}, folder / "w.pth")
    monkeypatch.syspath_prepend(tmp_path)
    return state


def test_a_trunks_weights_come_from_a_package(packaged: dict[str, torch.Tensor]):
    encoder = load_encoder("timm/test_resnet", "weights_of_a_resnet")
    assert encoder.text is not None and encoder.dim == encoder.text.encode(["a"]).shape[1]
    trunk = timm.create_model("test_resnet", features_only=True).eval()
    trunk.load_state_dict(packaged, strict=False)
    pixels = torch.randn(1, 3, encoder.preprocess.size, encoder.preprocess.size)
    with torch.no_grad():
        wanted = [part for stage in trunk(pixels) for part in statistics(stage)]
        found = encoder.image.pooled(pixels)
    for one, other in zip(wanted, found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)
    rebuilt = image_tower(encoder.spec)
    rebuilt.load_state_dict(encoder.image.state_dict())
    with pytest.raises(InputError, match="neither the names nor the order"):
        load_encoder("timm/test_efficientnet", "weights_of_a_resnet")


@pytest.mark.parametrize("name", ["test_convnext", "test_convnext2", "test_byobnet", "levit_128s"])
def test_all_of_a_trunks_weights_are_loaded(name: str, tmp_path: Path):
    torch.manual_seed(1)
    state = timm.create_model(name).state_dict()
    torch.save(state, tmp_path / "w.pth")
    image = load_encoder(f"timm/{name}", str(tmp_path / "w.pth"), text=False).image
    # timm's own loading, before it renames what it returns the stages of
    overlay = {"state_dict": state}
    trunk = timm.create_model(
        name, features_only=True, pretrained=True, pretrained_cfg_overlay=overlay
    ).eval()
    pixels = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        wanted = [part for stage in trunk(pixels) for part in statistics(stage)]
        found = image.pooled(pixels)
    for one, other in zip(wanted, found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


def test_weights_that_lack_a_part_of_the_trunk_are_refused():
    state = timm.create_model("test_convnext").state_dict()
    del state["stages.0.blocks.0.mlp.fc1.weight"]
    with pytest.raises(InputError, match=r"that fits 1 of .* stages_0\.blocks\.0"):
        TrunkEncoder(TrunkConfig("test_convnext", 8), state)
    name = "stages.0.blocks.0.mlp.fc1.weight"  # as of a wider trunk, whose names are the same
    wider = {**state, name: torch.zeros(1, 1)}
    with pytest.raises(InputError, match=r"that fits 1 of .* stages_0\.blocks\.0"):
        TrunkEncoder(TrunkConfig("test_convnext", 8), wider)


def test_stages_with_their_channels_last_are_pooled_over_places():
    torch.manual_seed(0)
    encoder = TrunkEncoder(TrunkConfig("test_mambaout", 8, stages=(0,))).eval()
    pixels = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        (stage,) = encoder.trunk(pixels)
        mean, _ = encoder.pooled(pixels)
    assert stage.shape == (1, 56, 56, 16)
    torch.testing.assert_close(mean, stage.mean((1, 2)))


def test_trunks_and_weights_that_are_not_there_are_named(tmp_path: Path):
    with pytest.raises(InputError, match="timm has no trunk called 'resnet5'"):
        find_pretrained("timm/resnet5")
    with pytest.raises(InputError, match="neither a file nor an installed Python package"):
        find_pretrained("timm/resnet50", "no_such_package")
    with pytest.raises(InputError, match="holds 0 files of weights"):
        find_pretrained("timm/resnet50", "json")
    assert find_pretrained("timm/resnet50", "random") == "random"
    assert find_pretrained("timm/resnet50") == "resnet50.a1_in1k"
    with pytest.raises(InputError, match=r"timm cannot build 'test_resnet' with stages \[9\]"):
        TrunkEncoder(TrunkConfig("test_resnet", 8, stages=(9,)))


def test_a_nano_student_gives_its_encoder_to_another(tmp_path: Path):
    encoder = load_encoder("nano", "random")
    config = StudentConfig(encoder.spec, encoder.preprocess.to_dict(), encoder.dim, 8, bases=5)
    Student(config, encoder.image).save_pretrained(tmp_path, storage="int8")
    again = load_encoder("nano", str(tmp_path))
    kept = Student.from_pretrained(tmp_path).encoder.state_dict()
    assert again.text is not None and again.preprocess == encoder.preprocess
    for name, value in again.image.state_dict().items():
        assert torch.equal(value, kept[name]), name
