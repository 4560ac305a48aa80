"""The compact network: shapes, objects in one pass, alignment to the picture, presence, bfloat16."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from tests.support.masks import bars, picture
from vos.errors import WeightsError
from vos.modeling.compact import CompactNetwork
from vos.modeling.mobilenet import MobileNetV2, load_backbone
from vos.modeling.network import Memory
from vos.modeling.presence import match_distance
from vos.weights.load import load_network


@pytest.fixture(scope="module")
def network() -> CompactNetwork:
    """The network with seeded random weights."""
    torch.manual_seed(0)
    return CompactNetwork().eval().requires_grad_(False)


def _disc(left: int) -> tuple[Tensor, Tensor]:
    """A textured disc, centred at x = left, over another texture: picture uint8 [1, 3, 256, 320] and mask."""
    y, x = torch.meshgrid(torch.arange(256), torch.arange(320), indexing="ij")
    disc = (((x - left) ** 2 + (y - 100) ** 2) < 60**2).float()[None, None]
    surface = (255 - picture(256, 320, 8)).roll(left, dims=3)
    return torch.where(disc > 0, surface, picture(256, 320, 9)), disc


def _overlap(a: Tensor, b: Tensor) -> float:
    return ((a & b).sum() / (a | b).sum()).item()


def test_shapes(network: CompactNetwork) -> None:
    """Every output has its documented shape, also if height and width differ."""
    features = network.encode(network.normalize(picture(64, 112)))
    memory = network.memorize(features, bars(3, 64, 112))
    assert features.key.shape == (1, 64, 4, 7)
    assert {stride: tuple(x.shape) for stride, x in features.maps.items()} == {
        4: (1, 24, 16, 28),
        8: (1, 32, 8, 14),
        16: (1, 128, 4, 7),
    }
    assert memory.key.shape == (1, 64, 28)
    assert memory.value.shape == (3, 144, 28)
    assert network.segment(features, memory, None, 5).shape == (3, 1, 16, 28)
    assert network.segment(features, memory, torch.rand(3, 1, 16, 28), 500).shape == (3, 1, 16, 28)


def test_objects_in_one_pass_equal_objects_one_by_one(network: CompactNetwork) -> None:
    """Segmenting K objects at once gives each the logits that it gets alone."""
    first, second = (network.encode(network.normalize(picture(64, 96, seed))) for seed in (1, 2))
    memory = network.memorize(first, bars(4, 64, 96))
    hint = torch.rand(4, 1, 16, 24)
    together = network.segment(second, memory, hint, 8)
    for k in range(4):
        alone = network.segment(second, Memory(memory.key, memory.value[k : k + 1]), hint[k : k + 1], 8)
        torch.testing.assert_close(together[k : k + 1], alone, rtol=1e-4, atol=1e-4)


def test_an_empty_object_does_not_change_other_objects(network: CompactNetwork) -> None:
    """An object's value is the same alone and beside an empty object, and differs beside a visible one."""
    features = network.encode(network.normalize(picture(64, 96)))
    masks = bars(2, 64, 96)
    alone = network.memorize(features, masks[:1]).value
    beside_nothing = network.memorize(features, torch.cat([masks[:1], torch.zeros_like(masks[:1])])).value[:1]
    beside_another = network.memorize(features, masks).value[:1]
    torch.testing.assert_close(beside_nothing, alone, rtol=1e-4, atol=1e-4)
    assert (beside_another - alone).abs().max() > 1e-3


def test_batched_clips_equal_clips_one_by_one(network: CompactNetwork) -> None:
    """Two pictures with two objects each, as in training, give the logits of each picture alone."""
    pictures = [picture(64, 64, seed) for seed in (3, 4)]
    masks = bars(2, 64, 64)
    features = network.encode(network.normalize(torch.cat(pictures)))
    batched = network.segment(features, network.memorize(features, torch.cat([masks, masks.flip(3)])), None, 6)
    for row, (alone, own) in enumerate(zip(pictures, (masks, masks.flip(3)), strict=True)):
        single = network.encode(network.normalize(alone))
        expected = network.segment(single, network.memorize(single, own), None, 6)
        torch.testing.assert_close(batched[2 * row : 2 * row + 2], expected, rtol=1e-3, atol=1e-3)


def test_moving_the_picture_moves_the_maps(network: CompactNetwork) -> None:
    """Away from borders, a shift by 16 pixels shifts the maps by 4 and 2 cells."""
    wide = picture(192, 208)
    here, moved = (network.encode(network.normalize(wide[..., left : left + 192])).maps for left in (0, 16))
    torch.testing.assert_close(moved[4][..., 8:36, 8:36], here[4][..., 8:36, 12:40], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(moved[8][..., 8:14, 8:14], here[8][..., 8:14, 10:16], rtol=1e-3, atol=1e-3)


def test_predictions_add_presence_to_the_logits(network: CompactNetwork) -> None:
    """`predict` returns the logits of `segment` and one presence logit per object, the same alone or together."""
    first, second = (network.encode(network.normalize(picture(64, 96, seed))) for seed in (1, 2))
    memory, hint = network.memorize(first, bars(3, 64, 96)), torch.rand(3, 1, 16, 24)
    together = network.predict(second, memory, hint, 8)
    assert (together.logits == network.segment(second, memory, hint, 8)).all()
    assert together.presence is not None
    alone = [network.predict(second, Memory(memory.key, memory.value[[k]]), hint[[k]], 8).presence for k in range(3)]
    torch.testing.assert_close(together.presence, torch.cat(alone), rtol=1e-4, atol=1e-4)


def test_weights_may_lack_the_presence_head(network: CompactNetwork, tmp_path: Path) -> None:
    """Weights without the head load and predict the same masks without presence; half a head is refused."""
    state = network.state_dict()
    head = {name for name in state if name.startswith("presence.")}
    files = {}
    for part, dropped in {"all": set(), "none": head, "half": set(list(head)[:1])}.items():
        files[part] = tmp_path / f"{part}.safetensors"
        save_file({name: tensor for name, tensor in state.items() if name not in dropped}, files[part])
    loaded = [
        load_network("compact", device="cpu", precision="float32", weights=files[part]) for part in ("all", "none")
    ]
    predictions = []
    for one in loaded:
        features = one.encode(one.normalize(picture(64, 96)))
        predictions.append(one.predict(features, one.memorize(features, bars(1, 64, 96)), None, 8))
    assert (predictions[0].logits == predictions[1].logits).all()
    assert predictions[0].presence is not None
    assert predictions[1].presence is None
    with pytest.raises(WeightsError, match="1 missing: presence"):
        load_network("compact", device="cpu", weights=files["half"])


def test_match_distance_equals_a_loop() -> None:
    """The match distance is the mean over a mask's cells of the distance to the nearest object cell in memory."""
    torch.manual_seed(0)
    query, key = torch.randn(2, 5, 6), torch.randn(2, 5, 9)
    share, labels = torch.rand(4, 6), torch.rand(4, 9)
    labels[3] = 0
    found = match_distance(query, key, share, labels)
    for row in range(3):
        asked = [m for m in range(6) if share[row, m] >= share[row].max() / 2]
        there = [n for n in range(9) if labels[row, n] >= labels[row].max() / 2]
        nearest = [min(((query[row // 2, :, m] - key[row // 2, :, n]) ** 2).mean() for n in there) for m in asked]
        assert abs(found[row] - torch.stack(nearest).mean()) < 1e-4
    assert found[3] == 0


def test_a_memorized_frame_gets_its_mask_back() -> None:
    """With the shipped weights, a frame in memory is segmented as memorized, at the same position."""
    network = load_network("compact", device="cpu", precision="float32")
    picture, disc = _disc(130)
    with torch.inference_mode():
        features = network.encode(network.normalize(picture))
        logits = network.segment(features, network.memorize(features, disc), None, 20)
    assert _overlap(logits > 0, functional.avg_pool2d(disc, 4) > 0.5) > 0.9


def test_label_channels_are_the_mask(network: CompactNetwork) -> None:
    """The last 16 value channels of a position are the 4 x 4 means of its 16 x 16 mask pixels, row by row."""
    features = network.encode(network.normalize(picture(32, 48)))
    mask = torch.rand(1, 1, 32, 48)
    labels = network.memorize(features, mask).value[0, 128:].view(16, 2, 3)
    for row in range(2):
        for column in range(3):
            cells = mask[0, 0, row * 16 : row * 16 + 16, column * 16 : column * 16 + 16].view(4, 4, 4, 4)
            torch.testing.assert_close(labels[:, row, column], cells.mean(dim=(1, 3)).flatten())


def test_bfloat16_is_close_to_float32() -> None:
    """With the shipped weights, bfloat16 changes probabilities by at most 0.01 on average, a mask by at most 3 %."""
    (first, disc), (second, _) = _disc(130), _disc(150)
    results = []
    for precision in ("float32", "bfloat16"):
        network = load_network("compact", device="cpu", precision=precision)
        dtype = next(network.parameters()).dtype
        with torch.inference_mode():
            memory = network.memorize(network.encode(network.normalize(first)), disc.to(dtype))
            logits = network.segment(network.encode(network.normalize(second)), memory, None, 20)
        results.append(torch.sigmoid(logits.float()))
    exact, rough = results
    assert exact.max() > 0.9
    assert (exact - rough).abs().mean() < 0.01
    assert _overlap(exact > 0.5, rough > 0.5) > 0.97


def test_backbone_keeps_its_frozen_part() -> None:
    """Frozen are the parameters up to stride 8 and the dilated depthwise weights, and no other."""
    backbone = MobileNetV2()
    frozen = {id(parameter) for parameter in backbone.frozen_parameters()}
    names = {name.rsplit(".", 1)[0] for name, parameter in backbone.named_parameters() if id(parameter) in frozen}
    blocks = {name.split(".")[1] for name in names if name.startswith("blocks.")}
    assert "stem" in names
    assert blocks == {"0", "1", "2", "3", "4", "5", "14", "15", "16"}
    assert {name for name in names if name.split(".")[1:2] == ["15"]} == {"blocks.15.depthwise"}


@pytest.mark.shared
def test_published_backbone_loads(shared_dir) -> None:
    """The published backbone fits the network by name and shape, and the taps of a picture have a usual magnitude."""
    from safetensors.torch import load_file

    backbone = MobileNetV2()
    load_backbone(backbone, load_file(shared_dir / "pretrained" / "mobilenet_v2_deeplab_voc.safetensors"))
    with torch.inference_mode():
        taps = backbone(picture(64, 96).float() / 127.5 - 1)
    assert [tuple(tap.shape[1:]) for tap in taps] == [(24, 16, 24), (32, 8, 12), (96, 4, 6), (320, 4, 6)]
    assert all(0.1 < tap.std() < 50 for tap in taps)
