"""Training losses against slow or simple forms of the same rule."""

import numpy as np
import torch
from torch.nn import functional

from vos.modeling.aggregate import soft_aggregate
from vos.training.common.losses import (
    aggregate_logits,
    bootstrapped_cross_entropy,
    dice_loss,
    hardest_share,
    presence_loss,
)


def test_aggregated_logits_are_soft_aggregation() -> None:
    """The softmax of aggregated logits is the soft aggregation of the objects' probabilities."""
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 5, 7) * 3
    found = torch.softmax(aggregate_logits(logits), dim=1)
    for clip in range(2):
        torch.testing.assert_close(found[clip], soft_aggregate(torch.sigmoid(logits[clip])), rtol=1e-4, atol=1e-5)


def test_extreme_logits_stay_finite() -> None:
    """Logits far from zero give finite losses and gradients."""
    logits = torch.tensor([-90.0, -20.0, 0.0, 20.0, 90.0]).view(1, 1, 1, 5).requires_grad_()
    merged = aggregate_logits(logits)
    functional.cross_entropy(merged, torch.zeros(1, 1, 5, dtype=torch.int64)).backward()
    assert torch.isfinite(merged).all()
    assert torch.isfinite(logits.grad).all()


def test_bootstrapping_averages_the_hardest_pixels() -> None:
    """With a share below 1, the loss is close to the mean of that share of the largest pixel losses."""
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 2, 64, 64), torch.randint(0, 2, (2, 64, 64))
    each = functional.cross_entropy(logits, labels, reduction="none").flatten().sort(descending=True).values
    assert abs(bootstrapped_cross_entropy(logits, labels, 1.0) - each.mean()) < 1e-5
    expected = each[: round(0.2 * len(each))].mean()
    assert abs(bootstrapped_cross_entropy(logits, labels, 0.2) - expected) < 0.05 * expected


def test_dice_equals_a_loop() -> None:
    """The Dice loss is one minus the smoothed overlap, averaged over objects."""
    torch.manual_seed(1)
    logits, labels = torch.randn(2, 3, 6, 6), torch.randint(0, 3, (2, 6, 6))
    probability = torch.softmax(logits, dim=1).numpy()
    values = []
    for clip in range(2):
        for k in (1, 2):
            p, truth = probability[clip, k], (labels[clip] == k).numpy()
            values.append(1 - (2 * (p * truth).sum() + 1) / (p.sum() + truth.sum() + 1))
    assert abs(dice_loss(logits, labels).item() - np.mean(values)) < 1e-5


def test_share_of_hard_pixels_falls_to_its_end() -> None:
    """All pixels count at first, only the hardest fifth from the middle of the run."""
    assert [round(hardest_share(p, 0.2), 3) for p in (0, 0.1, 0.3, 0.5, 1)] == [1, 1, 0.6, 0.2, 0.2]


def test_presence_is_any_pixel() -> None:
    """An object of one pixel is visible, one without pixels is not; the loss is small for matching logits."""
    labels = torch.zeros(2, 4, 4, dtype=torch.int64)
    labels[0, 1, 2] = 2
    right = torch.tensor([[-9.0, 9.0], [-9.0, -9.0]])
    assert presence_loss(right, labels) < 1e-3
    assert presence_loss(-right, labels) > 8
