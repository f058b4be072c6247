"""The random changes of training images, checked pixel by pixel."""

import torch

from build_dataset import Dataset
from model.augmentation import augment, draw
from model.parameters import DataParameters

DATASET = Dataset.model_construct(examples={"train": 1000})
PARAMETERS = DataParameters(shift=1, flip=True)


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


def test_masks_change_with_their_images() -> None:
    """Beyond the edge, an image is black and the class is not known."""
    image = torch.tensor([[1, 2, 3], [4, 5, 6]], dtype=torch.uint8)
    inputs = {"images": image.repeat(3, 1, 1)[..., None]}
    drawn = {
        "shifts": torch.tensor([[0, 0], [1, 0], [0, -1]]),
        "flips": torch.tensor([False, False, True]),
    }
    augmented, targets = augment(inputs, {"masks": image.repeat(3, 1, 1)}, drawn, PARAMETERS)
    images, masks = augmented["images"][..., 0], targets["masks"]
    assert images[0].tolist() == masks[0].tolist() == [[1, 2, 3], [4, 5, 6]]
    assert images[1].tolist() == [[0, 0, 0], [1, 2, 3]]
    assert masks[1].tolist() == [[255, 255, 255], [1, 2, 3]]
    assert images[2].tolist() == [[2, 1, 0], [5, 4, 0]]
    assert masks[2].tolist() == [[2, 1, 255], [5, 4, 255]]


def test_the_rest_of_a_batch_stays_as_it_is() -> None:
    inputs = {"images": torch.ones(3, 4, 4, 1, dtype=torch.uint8), "row": torch.arange(3)}
    targets = {"masks": torch.ones(3, 4, 4, dtype=torch.uint8)}
    drawn = {name: torch.from_numpy(a[:3]) for name, a in draw(DATASET, PARAMETERS, 0, 0).items()}
    augmented, changed = augment(inputs, targets, drawn, PARAMETERS)
    assert augmented["images"].shape == (3, 4, 4, 1)
    assert augmented["row"] is inputs["row"]
    assert changed["masks"].shape == (3, 4, 4)
    assert changed["masks"].dtype == torch.uint8
