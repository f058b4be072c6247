"""Defects of a network, its loss, its loader and its data, as a person plants them by mistake.

Python for `setup` of the fork server, by template, and the file that doctor.py has to name.
"""

from typing import NamedTuple


class Defect(NamedTuple):
    """A defect, and where doctor.py says to look."""

    place: str
    torch: str  # in torch-research
    tensorflow: str = ""  # in tf-production; empty: not tried there
    keras: str = ""  # in keras-quickstart

    def setup(self, template: str) -> str:
        """Return the Python that plants it in a template's project, or an empty string."""
        codes = {
            "torch-research": self.torch,
            "tf-production": self.tensorflow,
            "keras-quickstart": self.keras,
        }
        return codes[template] and BEFORE[template] + codes[template]


BEFORE = {
    "torch-research": """
import doctor, torch
import model.net as n, model.augmentation as a, model.data_loader as d
forward, init, losses, predict = n.Net.forward, n.Net.__init__, n.losses, n.predict
take, augment = d.Split.take, a.augment
""",
    "tf-production": """
import doctor, keras, tensorflow as tf
import model.net as n, model.augmentation as a, model.data_loader as d
call, init, losses, predict = n.Net.call, n.Net.__init__, n.losses, n.predict
take, augment = d.Split.take, a.augment
""",
    "keras-quickstart": """
import doctor, keras
import model.net as n, model.augmentation as a, model.data_loader as d
build, loss, losses, predict = n.build_model, n.loss, n.losses, n.predict
take, augment = d.Split.take, a.augment
""",
}

NET, LOADER = "model/net.py", "model/data_loader.py"

# Every value of a whole-number target becomes the next one, and the last the first.
NEXT = "{name: (t + 1) % K for name, t in targets.items()}"

DEFECTS = {
    "a softmax before the loss": Defect(
        NET,
        "n.losses = lambda outputs, *others: losses(outputs.softmax(1), *others)",
        "n.losses = lambda outputs, *others: losses(tf.nn.softmax(outputs), *others)",
        """
def built(*arguments):
    model = build(*arguments)
    outputs = {name: keras.ops.softmax(x) for name, x in model.output.items()}
    return keras.Model(model.input, outputs)
n.build_model = built
""",
    ),
    "targets off by one in the loss": Defect(
        "model/net.py: losses and predict",
        "n.losses = lambda outputs, targets, *others: losses("
        "outputs, {k: (t + 1) % outputs.shape[1] for k, t in targets.items()}, *others)",
    ),
    "targets off by one in the loader": Defect(
        LOADER,
        """
def shifted(self, rows):
    inputs, targets = take(self, rows)
    return inputs, {name: (t + 1) % (t.max() + 1) for name, t in targets.items()}
d.Split.take = shifted
""",
    ),
    "targets shuffled against inputs": Defect(
        LOADER,
        """
def rolled(self, rows):
    inputs, targets = take(self, rows)
    return inputs, {name: t.roll(1, 0) for name, t in targets.items()}
d.Split.take = rolled
""",
        """
import numpy
def rolled(self, rows):
    inputs, targets = take(self, rows)
    return inputs, {name: numpy.roll(t, 1, 0) for name, t in targets.items()}
d.Split.take = rolled
""",
        """
import numpy
def rolled(self, rows):
    inputs, targets = take(self, rows)
    return inputs, {name: numpy.roll(t, 1, 0) for name, t in targets.items()}
d.Split.take = rolled
""",
    ),
    "an epoch that leaves out examples": Defect(
        LOADER,
        """
sampler = d.BatchSampler
d.BatchSampler = lambda examples, *others: sampler(examples - 10, *others)
""",
    ),
    "an epoch that repeats examples": Defect(
        LOADER,
        "d.Split.take = lambda self, rows: take(self, rows // 2 * 2)",
    ),
    "evaluation in another order": Defect(
        LOADER,
        """
batches = d.evaluation_batches
doctor.evaluation_batches = lambda split: reversed([*batches(split)][::-1]) and (
    tuple({k: t.flip(0) for k, t in part.items()} for part in batch) for batch in batches(split))
""",
    ),
    "inputs normalised twice": Defect(
        "model/net.py: forward",
        """
def twice(self, inputs):
    mean, std = self.mean.flatten(), self.std.flatten()
    return forward(self, {k: (x - mean) / std for k, x in inputs.items()})
n.Net.forward = twice
""",
        """
def twice(self, inputs, seed=None):
    inputs = {k: (tf.cast(x, "float32") - self.mean) / self.std for k, x in inputs.items()}
    return call(self, inputs, seed)
n.Net.call = twice
""",
    ),
    "a last layer of large weights": Defect(
        NET,
        """
def large(self, *arguments):
    init(self, *arguments)
    torch.nn.init.normal_([*self.modules()][-1].weight, std=30)
n.Net.__init__ = large
""",
    ),
    "a layer frozen at random": Defect(
        NET,
        """
def frozen(self, *arguments):
    init(self, *arguments)
    next(self.parameters()).requires_grad_(False)
n.Net.__init__ = frozen
""",
        """
def frozen(self, *arguments):
    init(self, *arguments)
    next(l for l in vars(self).values() if isinstance(l, keras.Layer)).trainable = False
n.Net.__init__ = frozen
""",
        """
def frozen(*arguments):
    model = build(*arguments)
    next(layer for layer in model.layers if layer.trainable_weights).trainable = False
    return model
n.build_model = frozen
""",
    ),
    "features that are detached": Defect(
        NET,
        """
def detached(self, *arguments):
    init(self, *arguments)
    [*self.children()][-1].register_forward_pre_hook(lambda layer, given: (given[0].detach(),))
n.Net.__init__ = detached
""",
    ),
    "hidden layers that start from zero": Defect(
        NET,
        """
def zero(self, *arguments):
    init(self, *arguments)
    for weight in self.parameters():
        torch.nn.init.zeros_(weight)
n.Net.__init__ = zero
""",
        """
def zero(self, *arguments):
    init(self, *arguments)
    for layer in self._flatten_layers():
        if hasattr(layer, "kernel_initializer"):
            layer.kernel_initializer = keras.initializers.Zeros()
n.Net.__init__ = zero
""",
        """
def zero(*arguments):
    model = build(*arguments)
    for weight in model.trainable_variables:
        weight.assign(weight * 0)
    return model
n.build_model = zero
""",
    ),
    "units that are dead": Defect(
        NET,
        """
def dead(self, *arguments):
    init(self, *arguments)
    for layer in self.modules():
        if "Norm" in type(layer).__name__:
            torch.nn.init.constant_(layer.bias, -100)
n.Net.__init__ = dead
""",
    ),
    "outputs that are saturated": Defect(
        NET,
        "n.Net.forward = lambda self, inputs: torch.tanh(1000 + forward(self, inputs))",
    ),
    "a softmax over the batch": Defect(
        "model/net.py: forward",
        "n.predict = lambda outputs, dataset: {k: p * outputs.softmax(0) for k, p in "
        "predict(outputs, dataset).items()}",
    ),
    "examples that are mixed": Defect(
        "model/net.py: forward",
        "n.Net.forward = lambda self, inputs: forward(self, inputs).T.reshape("
        "forward(self, inputs).shape)",
        """
def mixed(self, inputs, seed=None):
    outputs = call(self, inputs, seed)
    return tf.reshape(tf.transpose(outputs), tf.shape(outputs))
n.Net.call = mixed
""",
    ),
    "training mode at evaluation": Defect(
        "model/net.py: forward",
        "n.Net.eval = lambda self: self",
    ),
    "noise at evaluation": Defect(
        "model/net.py: forward",
        "n.Net.forward = lambda self, x: (y := forward(self, x)) + torch.randn_like(y) / 1e4",
    ),
    "a network that ignores its input": Defect(
        "model/net.py: forward",
        "n.Net.forward = lambda self, inputs: forward("
        "self, {k: torch.zeros_like(x) for k, x in inputs.items()})",
        "n.Net.call = lambda self, inputs, seed=None: call("
        "self, {k: tf.zeros_like(x) for k, x in inputs.items()}, seed)",
    ),
    "a loss summed over the batch": Defect(
        "model/net.py: losses",
        "n.losses = lambda *arguments: losses(*arguments).sum()",
        "n.losses = lambda *arguments: tf.reduce_sum(losses(*arguments))",
        "n.losses = lambda *arguments: keras.ops.sum(losses(*arguments))",
    ),
    "a loss that is everyone's": Defect(
        "model/net.py: losses",
        "n.losses = lambda *arguments: losses(*arguments).mean() + 0 * losses(*arguments)",
    ),
    "a loss of the wrong sign": Defect(
        NET,
        "n.losses = lambda *arguments: -losses(*arguments)",
    ),
    "an output too many": Defect(
        NET,
        "n.Net.forward = lambda self, inputs: torch.nn.functional.pad("
        "forward(self, inputs), (0, 1))",
    ),
    "an output too few": Defect(
        NET,
        "n.Net.forward = lambda self, inputs: forward(self, inputs)[:, :1]",
    ),
    "outputs that are no numbers": Defect(
        "model/net.py: forward",
        "n.Net.forward = lambda self, inputs: forward(self, inputs) + torch.zeros(1) / 0",
    ),
    "an error in the network": Defect(
        "model/net.py:",
        "torch.nn.Linear.forward = lambda self, x: x @ self.weight",
    ),
    "a layer that no checkpoint holds": Defect(
        NET,
        """
def hidden(self, *arguments):
    init(self, *arguments)
    name = [*self._modules][0]
    self.__dict__[name] = self._modules.pop(name)
n.Net.__init__ = hidden
""",
    ),
    "augmentation that changes targets": Defect(
        "model/augmentation.py",
        """
def wrong(inputs, targets, *others):
    inputs, targets = augment(inputs, targets, *others)
    return inputs, {name: t.flip(0) for name, t in targets.items()}
a.augment = wrong
""",
    ),
    "augmentation that leaves nothing": Defect(
        "model/augmentation.py",
        """
def blank(inputs, targets, *others):
    return {name: torch.zeros_like(x) for name, x in inputs.items()}, targets
a.augment = blank
""",
    ),
    "augmentation that changes the dtype": Defect(
        "model/augmentation.py",
        """
def other(inputs, targets, *others):
    return {name: x.double() for name, x in inputs.items()}, targets
a.augment = other
""",
    ),
}
