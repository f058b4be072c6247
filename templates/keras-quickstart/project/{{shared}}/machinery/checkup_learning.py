"""How the network learns in a few steps: one batch by heart, at which rate, from which targets."""

import itertools

import numpy as np

from machinery.checkup import Batch, Checkup, EndError, Network, Subject
from machinery.checkup_batches import steps_per_epoch
from machinery.checkup_network import NET, differ, first_batch

PARAMETERS = "params.yaml: training.learning_rate"
EXAMPLES = 8  # that are learnt by heart: so few that networks of some hundred weights can do it
STEPS = 300  # to learn them, at most
LOOK = 20  # Steps between two looks at the loss.
RISE = 10  # Steps in which the rate rises, as at the start of a training.
# Learnt by heart is a loss below this share of that at the start. No lower: smoothed targets and
# dropout keep some. No higher: a softmax too many already leaves 0.45 of two values, 0.63 of ten.
LEARNT = 0.3
MOVED = 0.9  # Less than a tenth of the loss in STEPS is no learning.
OTHER_RATES = (1e-2, 1e-3, 1e-4)  # With one of them AdamW trains nearly every network.
FIT = 0.5  # A metric of which more is better, 1 at best, is more than this for what was learnt.
FAR = 100  # So many times another rate that learns the batch, one that does not is wrong.
SHORT = 20  # Steps at each rate of the range test.
ROUNDS = 60  # Steps with true and with shuffled targets.


def check(checkup: Checkup, subject: Subject) -> None:
    """Learn a batch by heart, restore the network, try rates, and shuffle the targets."""
    batch = first_batch(subject, EXAMPLES)
    with checkup.checking("learning", NET):
        network = new_network(subject)
        learnt = check_batch(checkup, subject, network, batch)
        check_metrics(checkup, subject, network, batch, learnt)
        check_restored(checkup, subject, network, batch)
        check_rates(checkup, subject, batch)
        check_shuffled(checkup, subject)


def new_network(subject: Subject) -> Network:
    """Return a network as the experiment starts with it."""
    return subject.new_network(subject.parameters.seed, subject.dataset)


def train(network: Network, batch: Batch, rate: float, steps: int) -> tuple[float, float, int]:
    """Train on one batch, until it is learnt or the steps are done.

    Returns:
        The mean loss in evaluation at the start and at the end, and the steps.
    """
    start = found = float(network.losses(batch).mean())
    step = 0
    with np.errstate(all="ignore"):
        while step < steps and np.isfinite(found) and found > LEARNT * start:
            for _ in range(min(LOOK, steps - step)):
                network.step(batch, rate * min(1.0, (step + 1) / RISE))
                step += 1
            found = float(network.losses(batch).mean())
    return start, found, step


def is_learnt(start: float, found: float) -> bool:
    """Return whether a batch is learnt by heart."""
    return bool(np.isfinite(found)) and found <= LEARNT * start


def check_batch(checkup: Checkup, subject: Subject, network: Network, batch: Batch) -> bool:
    """Check that one batch is learnt by heart, and say whether it is the rate if it is not."""
    check, rate = "one batch", subject.parameters.training.learning_rate
    examples = len(next(iter(batch[1].values())))
    start, found, steps = train(network, batch, rate, STEPS)
    said = f"{steps} steps took the loss of {examples} examples from {start:.4g} to {found:.4g}"
    if is_learnt(start, found):
        checkup.ok(check, f"{said}: learnt by heart")
        return True
    for other in OTHER_RATES:
        start, there, _ = train(new_network(subject), batch, other, STEPS)
        if not is_learnt(start, there):
            continue
        compared = (
            f"{said} at {rate:g}, the training.learning_rate of the experiment, and at {other:g} "
            f"to {there:.4g}."
        )
        diverges = not np.isfinite(found) or found > 2 * start
        far = max(rate / other, other / rate) >= FAR
        if diverges or far or found > MOVED * start:
            which = "high" if diverges or rate > other else "low"
            checkup.fail("learning rate", f"{compared} It is too {which}.", PARAMETERS)
            raise EndError
        checkup.warn("learning rate", f"{compared} Another one may learn faster.")
        return False
    expected = f"Expected less than {LEARNT:g} of that at the start: a network that cannot learn a "
    problem = f"{said}. {expected}batch by heart learns nothing. What stands in the way?"
    in_training = network.step(batch, 0.0)
    place = NET
    if in_training <= LEARNT * start:
        problem += (
            f" In training the loss is {in_training:.4g}: evaluation computes something else."
        )
        place = f"{NET}: forward"
    checkup.fail(check, problem, place)
    raise EndError


def check_metrics(
    checkup: Checkup, subject: Subject, network: Network, batch: Batch, learnt: bool
) -> None:
    """Check that a network that has learnt a batch predicts its targets, not those of others."""
    inputs, targets = batch
    objective = subject.report.objective(subject.dataset)
    name = objective.metric.removeprefix("val_")
    order = np.roll(np.arange(len(next(iter(targets.values())))), 1)
    others = {key: array[order] for key, array in targets.items()}
    if not learnt or all(np.array_equal(targets[key], others[key]) for key in targets):
        return
    more = 0
    while True:
        predictions, losses = network.predictions(inputs), network.losses(batch)
        with checkup.checking("metrics", "model/report.py"):
            own = subject.measure(predictions, targets, losses)
            strange = subject.measure(predictions, others, losses)
        if own is None or strange is None:
            return
        fits = not objective.maximize or own > FIT
        if fits or more == STEPS:
            break
        for _ in range(LOOK):  # Some metrics ask for more than a lower loss.
            network.step(batch, subject.parameters.training.learning_rate)
        more += LOOK
    better = own > strange if objective.maximize else own < strange
    after = f" and {more} steps more" if more else ""
    compared = (
        f"{name} of the batch learnt by heart{after} is {own:.4g}, with the targets of other "
        f"examples {strange:.4g}"
    )
    if not better:
        problem = (
            f"{compared}. Expected that the true ones fit better: losses and predictions do not "
            "speak of the same."
        )
        checkup.fail("metrics", problem, f"{NET}: losses and predict")
    elif not fits:
        checkup.warn("metrics", f"{compared}. Expected more than {FIT:g} for what was learnt.")
    else:
        checkup.ok("metrics", compared)


def check_restored(checkup: Checkup, subject: Subject, network: Network, batch: Batch) -> None:
    """Check that a new network with the numbers of a checkpoint gives the same outputs."""
    restored = subject.new_network(subject.parameters.seed + 1, subject.dataset)
    restored.load(network.arrays())
    problem = ""
    if differ(network.outputs(batch[0]), restored.outputs(batch[0]), 1e-6):
        problem = (
            "a new network with the numbers of a checkpoint gives other outputs. Is a layer not an "
            "attribute of the network, such as one in a list of Python?"
        )
    checkup.judge("checkpoint", problem, "restores the same outputs", NET)


def check_rates(checkup: Checkup, subject: Subject, batch: Batch) -> None:
    """Try a tenth and ten times the learning rate, too, for a few steps each."""
    rate, found = subject.parameters.training.learning_rate, []
    for factor in (0.1, 1.0, 10.0):
        start, end, _ = train(new_network(subject), batch, factor * rate, SHORT)
        found.append((factor * rate, end))
    said = ", ".join(f"{end:.4g} at {each:g}" for each, end in found)
    message = (
        f"after {SHORT} steps the loss of {start:.4g} is {said} (training.learning_rate is "
        f"{rate:g})"
    )
    _, middle, high = (end for _, end in found)
    if not np.isfinite(middle) or middle > 2 * start:
        checkup.warn("learning rate", f"{message}: it rises at first, as with too high a rate.")
    elif middle > 0.99 * start and high < MOVED * start:
        checkup.warn("learning rate", f"{message}: it barely moves, as with too low a rate.")
    else:
        checkup.ok("learning rate", message)


def check_shuffled(checkup: Checkup, subject: Subject) -> None:
    """Train with true and with shuffled targets: what is learnt of the true ones is of use on val.

    Data may need more steps than these to show it, so this is a warning.
    """
    found = []
    steps = range(min(ROUNDS, max(20, 2 * steps_per_epoch(subject))))
    held_out = [*itertools.islice(subject.evaluation_batches("val"), 2)]
    rate = subject.parameters.training.learning_rate
    for shuffled in (False, True):
        network = new_network(subject)
        for step, (inputs, targets) in enumerate(subject.training_batches(steps, augmented=False)):
            if shuffled:
                generator = np.random.default_rng((subject.parameters.seed, step))
                order = generator.permutation(len(next(iter(targets.values()))))
                targets = {name: array[order] for name, array in targets.items()}
            network.step((inputs, targets), rate * min(1.0, (step + 1) / RISE))
        losses = [network.losses(batch) for batch in held_out]
        found.append(float(np.concatenate(losses).mean()))
    said = f"after {len(steps)} steps the loss on val is {found[0]:.4g}, with shuffled targets "
    message = f"{said}{found[1]:.4g}"
    if found[0] < found[1]:
        checkup.ok("targets", message)
    else:
        advice = "In these steps nothing was learnt from them that holds on val."
        checkup.warn("targets", f"{message}. {advice}")
