"""What chooses the values of a trial and what ends it early, as search.yaml names them."""

import random
import warnings
from collections.abc import Sequence
from typing import Any

import optuna
from optuna import pruners, samplers
from optuna.trial import FrozenTrial

from machinery.sampling import fold_seed
from machinery.search_settings import Search


def new_sampler(
    search: Search, trial: FrozenTrial, trials: Sequence[FrozenTrial]
) -> samplers.BaseSampler:
    """Return what chooses the values of a trial: a function of the seed and the trial's number.

    Args:
        search: what to choose from.
        trial: the trial.
        trials: all of the study.
    """
    seed = fold_seed(search.base.seed, trial.number) % 2**32
    with warnings.catch_warnings(action="ignore"):  # Optuna calls half of them experimental.
        match search.settings.sampler:
            case "tpe":
                # So it learns, too, which values of conditional parameters go together.
                joint = any(each.when for each in search.settings.space.values())
                return samplers.TPESampler(
                    seed=seed, constant_liar=True, multivariate=joint or None, group=joint
                )
            case "gp":
                return samplers.GPSampler(seed=seed)
            case "botorch":
                from optuna_integration import BoTorchSampler  # ty: ignore[import-not-found]

                return BoTorchSampler(seed=seed)
            case "cmaes":
                return samplers.CmaEsSampler(seed=seed)
            case "random":
                return samplers.RandomSampler(seed=seed)
            case "grid":
                point = next_point(search, trial, trials)
                return samplers.PartialFixedSampler(point, samplers.RandomSampler(seed=seed))


def next_point(search: Search, trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> dict[str, Any]:
    """Return the point of the grid for a trial: the next, in a shuffled order, that none has."""
    order = list(search.grid)
    random.Random(search.base.seed).shuffle(order)
    taken = [each.params for each in trials if each.number != trial.number]
    # A trial that was left while its values were chosen has some of them.
    fitting = [point for point in order if trial.params.items() <= point.items()]
    return next(point for point in fitting if point not in taken)


def new_pruner(search: Search) -> pruners.BasePruner:
    """Return what ends a trial early, once it has been trained for a while."""
    epochs = search.base.training.epochs
    match search.settings.pruner:
        case "median":
            return pruners.MedianPruner(n_warmup_steps=epochs // 4)
        case "hyperband":
            return pruners.HyperbandPruner(max_resource=epochs * search.settings.seeds)
        case "successive_halving":
            return pruners.SuccessiveHalvingPruner(min_resource=max(epochs // 4, 1))
        case _:
            return optuna.pruners.NopPruner()
