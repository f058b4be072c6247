"""What the tests have to know of a task: a module here for each, and nothing of it elsewhere."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class OwnData:
    """What a person has of their own, and what becomes of it."""

    source: Path
    printed: tuple[str, ...]  # words of build_dataset.py about it
    parameters: Mapping[str, Any]  # that suit it, by dotted name
    bar: float  # what Task.metric reaches on test; see Task.reaches
    options: tuple[str, ...] = ()  # of build_dataset.py beside --source and --data


@dataclasses.dataclass(frozen=True)
class Misfit:
    """Parameters that the schema takes and the data does not."""

    parameters: Mapping[str, Any]  # by dotted name
    expected: tuple[str, ...]  # in the message


@dataclasses.dataclass(frozen=True)
class Effect:
    """What a parameter changes, beside a run where it is switched off."""

    value: Any  # of the parameter
    # Fails unless arrays have become those that the value asks for. Of the data: the inputs of the
    # training examples, before and after. Of the loss: the gradients of the weights of a first
    # step, without and with it, and the targets.
    check: Callable[..., None]
    # Of the loss: which rows the batch of that step has, given the targets. None: all.
    rows: Callable[[Mapping[str, Any]], list[int]] | None = None


@dataclasses.dataclass(frozen=True)
class BadSource:
    """A source that build_dataset.py refuses."""

    make: Callable[[Path], object]  # puts it at a path that does not exist
    expected: tuple[str, ...]  # in the message
    # Of build_dataset.py beside --source and --data; {source} stands for the path.
    options: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class BadUnlabelled:
    """Examples that predict.py refuses, or leaves out with --skip-bad."""

    spoil: Callable[[Path], object]  # what Task.write_unlabelled wrote
    expected: tuple[str, ...]  # in the message
    left_out: int = 0  # with --skip-bad; 0: it is refused all the same


@dataclasses.dataclass(frozen=True)
class Trivial:
    """An answer that takes no network; a trained one is shown beside it."""

    words: str
    # The predictions for so many examples, as net.predict gives them, of the targets of train.
    predict: Callable[[Mapping[str, np.ndarray], int], Mapping[str, np.ndarray]]


def always_most_frequent(target: str) -> Trivial:
    """Return the answer with the most frequent class of a target, which holds class numbers."""

    def predict(train: Mapping[str, np.ndarray], examples: int) -> Mapping[str, np.ndarray]:
        shares = np.bincount(train[target]) / len(train[target])
        return {"probabilities": np.tile(shares.astype(np.float32), (examples, 1))}

    return Trivial("always the most frequent class", predict)


@dataclasses.dataclass(frozen=True)
class Task:
    """A task, for tests that know none."""

    name: str
    overlays: tuple[str, ...]  # beside its own, those that it shares with other tasks
    words: str  # a pattern of its words, in any case: nothing outside its overlays may use them

    # Parameters by dotted name: two epochs of five steps on the default data, with everything that
    # is random switched on. The tests change those of `training`, `seed` and `data.batch_size`.
    tiny: Mapping[str, Any]
    without_dropout: Mapping[str, Any]  # What to change so that each backend draws the same.
    plain: Mapping[str, Any]  # What to change so that a step is of the data and the loss alone.
    normalises_over_batch: bool  # So the parts of a batch have other gradients than the whole.
    changes_data: Mapping[str, Effect]  # by parameter
    changes_loss: Mapping[str, Effect]  # by parameter
    sizes: tuple[str, ...]  # parameters on which the number of weights depends
    # The trained weights of a network, given its parameters by dotted name and a dataset.json.
    count_weights: Callable[[Mapping[str, Any], Mapping[str, Any]], int]
    other_network: Mapping[str, Any]  # Parameters of `model` that give it other shapes.
    out_of_memory: Mapping[str, Any]  # A network that needs more than 4 GB.

    metric: str  # one that evaluate.py reports beside the loss
    maximize: bool
    bar: float  # what it reaches on the default data with the parameters as they are shipped
    metrics: tuple[str, ...]  # all of them, in their order
    evaluation_files: tuple[str, ...]  # beside metrics_test.json, with {name} for "test"
    # What evaluate.py draws of test, and the share of its height that the gallery shows; what says
    # most comes first.
    pictures: Mapping[str, float]
    trivial: Trivial
    prepared: str  # words of train.py that prepares the default data

    space: str  # of a search.yaml, quick to try
    misfits: Mapping[str, Misfit]
    damage: Mapping[str, tuple[Callable[[Path], object], tuple[str, ...]]]  # of a folder of data
    bad_sources: Mapping[str, BadSource]
    bad_build_options: tuple[str, ...]
    # Writes the inputs of examples, by name, to a path that does not exist, as a person has them:
    # what predict.py reads there is the same in every bit.
    write_unlabelled: Callable[[Path, Mapping[str, np.ndarray], Mapping[str, Any]], object]
    unlabelled_name: str  # of the path
    bad_unlabelled: Mapping[str, BadUnlabelled]
    make_own_data: Callable[[Path], OwnData]  # in an empty folder, with a $ in a name of it
    own_data_shows_more: bool  # Some parameter changes nothing on the default data.
    # Of other kinds, by name, in a folder that does not exist.
    more_own_data: Mapping[str, Callable[[Path], OwnData]] = dataclasses.field(default_factory=dict)
    tested_in_projects: tuple[str, ...] = ()  # Parameters whose tests are the project's own.

    def reaches(self, value: float, bar: float) -> bool:
        """Say whether a value of the metric is at least as good as another."""
        return value >= bar if self.maximize else value <= bar
