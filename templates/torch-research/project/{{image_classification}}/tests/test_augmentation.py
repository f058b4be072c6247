"""The random changes of training images, checked pixel by pixel."""

import torch

from build_dataset import Dataset
from machinery.arrays import Array
from model.augmentation import augment, draw, erase, mix
from model.image_changes import flip, shift
from model.parameters import DataParameters

IMAGES = Array(dtype="uint8", shape=(8, 9, 2))
DATASET = Dataset.model_construct(
    examples={"train": 1000}, arrays={"images": IMAGES}, mean=[3.2, 99.7], std=[1.0, 1.0]
)


def test_shift_and_flip() -> None:
    image = torch.tensor([[1, 2, 3], [4, 5, 6]], dtype=torch.uint8).view(1, 2, 3, 1)
    images = image.repeat(4, 1, 1, 1)
    shifts = torch.tensor([[0, 0], [0, 0], [1, 0], [0, -1]])
    flips = torch.tensor([False, True, False, True])
    moved = shift(flip(images, flips), shifts, reach=1)[..., 0]
    assert moved[0].tolist() == [[1, 2, 3], [4, 5, 6]]
    assert moved[1].tolist() == [[3, 2, 1], [6, 5, 4]]
    assert moved[2].tolist() == [[0, 0, 0], [1, 2, 3]]
    assert moved[3].tolist() == [[2, 1, 0], [5, 4, 0]]


def test_draws() -> None:
    """They reach as far as asked for, to both sides, and differ between epochs."""
    parameters = DataParameters(shift=2, flip=True)
    drawn = draw(DATASET, parameters, seed=0, epoch=0)
    assert drawn["shifts"].shape == (1000, 2)
    assert set(drawn["shifts"].ravel().tolist()) == {-2, -1, 0, 1, 2}
    assert 0.4 < drawn["flips"].mean() < 0.6
    others = draw(DATASET, parameters, seed=0, epoch=1)
    assert (drawn["shifts"] != others["shifts"]).any()
    assert not draw(DATASET, DataParameters(shift=0, flip=False), seed=0, epoch=0)


def test_the_rest_of_a_batch_stays_as_it_is() -> None:
    parameters = DataParameters(shift=1, flip=True)
    inputs = {"images": torch.ones(3, 4, 4, 1, dtype=torch.uint8), "row": torch.arange(3)}
    targets = {"labels": torch.tensor([2, 0, 1])}
    drawn = {name: torch.from_numpy(a[:3]) for name, a in draw(DATASET, parameters, 0, 0).items()}
    augmented, same = augment(inputs, targets, drawn, parameters)
    assert augmented["images"].shape == (3, 4, 4, 1)
    assert augmented["row"] is inputs["row"]
    assert same is targets


def test_erase() -> None:
    """What of the square lies beyond the edge is not missed elsewhere."""
    images, middles = torch.full((2, 4, 5, 1), 9, dtype=torch.uint8), torch.tensor([[1, 1], [3, 4]])
    erased = erase(images, middles, torch.tensor([[2], [3]], dtype=torch.uint8), side=3)[..., 0]
    assert erased[0].tolist() == [[2, 2, 2, 9, 9]] * 3 + [[9] * 5]
    assert erased[1].tolist() == [[9] * 5] * 2 + [[9, 9, 9, 3, 3]] * 2


def test_mix() -> None:
    images = torch.tensor([0, 100, 200], dtype=torch.uint8).view(3, 1, 1, 1)
    shares = torch.tensor([1.0, 0.25, 0.5])
    assert mix(images, shares).flatten().tolist() == [0, 25, 150]


def test_draws_of_what_is_erased_and_mixed() -> None:
    drawn = draw(DATASET, DataParameters(cutout=4, mixup=0.5), seed=0, epoch=0)
    rows, columns = drawn["middles"].T
    assert ({*rows.tolist()}, {*columns.tolist()}) == ({*range(8)}, {*range(9)})
    assert drawn["fills"][7].tolist() == [3, 100]
    shares = drawn["shares"]
    assert ((shares >= 0) & (shares <= 1)).all()
    assert abs(shares.mean() - 1.5 / 2) < 0.05  # The mean of Beta(1.5, 0.5).
    assert (shares != draw(DATASET, DataParameters(cutout=4, mixup=0.5), 0, 1)["shares"]).any()
