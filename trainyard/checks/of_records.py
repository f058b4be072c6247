"""TY4: the run can be repeated, continued and compared."""

import ast
import re
from collections.abc import Iterator

from trainyard.checks.definition import Finding, check
from trainyard.checks.of_files import has_training
from trainyard.checks.repository import Repository
from trainyard.checks.sources import Source, has_unpacking, is_constant, keyword

SEEDING = {
    *("seed", "manual_seed", "manual_seed_all", "seed_everything", "set_seed", "set_random_seed"),
    *("seed_all", "PRNGKey", "fold_in", "enable_full_determinism"),
}
RECORDING = {
    *("save_hyperparameters", "log_hyperparams", "log_params", "log_param", "add_hparams"),
    *("json.dump", "json.dumps", "yaml.dump", "yaml.safe_dump", "OmegaConf.save"),
    *("omegaconf.OmegaConf.save", "hydra.main", "sacred.Experiment", "tyro.extras.to_yaml"),
}
NAMES_OF_PARAMETERS = {
    *("config", "cfg", "args", "hparams", "hyper_parameters", "hyperparameters", "parameters"),
    *("params", "opt", "options", "settings"),
}
WRITING = {
    *("SummaryWriter", "CSVLogger", "TensorBoard", "TensorBoardLogger", "add_scalar", "writerow"),
    *("log_metric", "log_metrics", "log_dict", "to_csv", "savetxt", "write_text", "JSONLLogger"),
    *("scalar", "WandbLogger", "MLFlowLogger", "DictWriter"),
}
WRITERS = {"json.dump", "csv.writer", "wandb.log", "wandb.init", "self.log", "numpy.save"}
GENERATORS = {
    *("numpy.random.default_rng", "numpy.random.RandomState", "random.Random"),
    *("torch.Generator",),
}
SPLITTING = re.compile(r"split|fold", re.IGNORECASE)
CLOCK = ("time.time", "time.time_ns", "datetime.datetime.now")


def _called(repository: Repository, last: set[str], whole: set[str]) -> bool:
    """Return whether the code calls one of some functions, by the last or the whole name."""
    return any(
        name in whole or name.rpartition(".")[2] in last
        for source in repository.code
        for name, _ in source.calls
    )


@check(
    "TY401",
    "No seed is set",
    why="Two runs of the same command differ, and nobody can say whether a change helped.",
    mend="Make the seed a parameter, set it before the network is made, and record it.",
    doubt="It looks for calls such as manual_seed and for seed= in calls, anywhere but in tests. "
    "One seed is enough for it; whether weights, order and dropout have one, it does not see.",
    applies=has_training,
)
def no_seed(repository: Repository) -> Iterator[Finding]:
    if _called(repository, SEEDING, {"jax.random.key"}):
        return
    for source in repository.code:
        for function, call in source.calls:
            if SPLITTING.search(function):  # Its seed is that of the split alone.
                continue
            for name in ("seed", "random_state"):
                value = keyword(call, name)
                if value is not None and not is_constant(value, None):
                    return
    yield Finding(repository.training[0].path, 0, "nothing here or elsewhere sets a seed")


@check(
    "TY402",
    "Parameters are not recorded",
    why="In a month nobody knows which learning rate gave the good result.",
    mend="Write all parameters beside the results when the training starts, as JSON or YAML.",
    doubt="Any file of JSON or YAML that the code writes, a tracker, or a dictionary with config, "
    "args or the like in it counts, whatever is in it.",
    applies=has_training,
)
def no_parameters(repository: Repository) -> Iterator[Finding]:
    last = {name for name in RECORDING if "." not in name}
    if _called(repository, last, RECORDING):
        return
    for source in repository.code:
        for name, call in source.calls:
            if name == "wandb.init" and keyword(call, "config") is not None:
                return
        if any(isinstance(node, ast.Dict) and _has_parameters(node) for node in source.nodes):
            return
        if any("hydra.main" in source.name(e) for n in source.functions for e in n.decorator_list):
            return
    yield Finding(repository.training[0].path, 0, "nothing writes the parameters of a run")


def _has_parameters(node: ast.Dict) -> bool:
    keys = [key.value for key in node.keys if isinstance(key, ast.Constant)]
    return bool(NAMES_OF_PARAMETERS & {key for key in keys if isinstance(key, str)})


@check(
    "TY403",
    "A stopped training cannot be continued",
    why="After a power cut, a time limit or Ctrl-C, hours of computing are lost.",
    mend="Save weights, optimizer and position, and load them when the command is given again; "
    "in Keras BackupAndRestore, in Lightning fit(..., ckpt_path=).",
    doubt="It looks for an optimizer's state that is loaded, for such options, and for names with "
    "resume in them. Whether continuing gives the same result is for a test to say.",
    applies=has_training,
)
def no_resume(repository: Repository) -> Iterator[Finding]:
    for source in repository.code:
        for name, call in source.calls:
            owner, _, last = name.rpartition(".")
            if last == "load_state_dict" and "opt" in owner.lower():
                return
            if last in ("BackupAndRestore", "CheckpointManager", "restore_or_initialize"):
                return
            if keyword(call, "ckpt_path") is not None or keyword(call, "initial_epoch") is not None:
                return
        if any(re.search(r"resum|restore_state|continue_from", word) for word in source.words):
            return
    yield Finding(repository.training[0].path, 0, "nothing loads the state of a training")


@check(
    "TY404",
    "Metrics are only printed",
    why="What scrolled away cannot be compared, drawn or put into a table.",
    mend="Append them to a file, a line an epoch (JSON lines or CSV), or give them to a tracker.",
    doubt="Any writing of JSON or CSV, TensorBoard and trackers count, whatever they get.",
    applies=has_training,
)
def no_metrics(repository: Repository) -> Iterator[Finding]:
    if _called(repository, WRITING, WRITERS):
        return
    for source in repository.code:
        for name, call in source.calls:
            mode = keyword(call, "mode") or (call.args[1] if len(call.args) > 1 else None)
            written = isinstance(mode, ast.Constant) and re.fullmatch("[aw]t?", str(mode.value))
            if name == "open" and written:
                return
    yield Finding(repository.training[0].path, 0, "nothing writes metrics to a file or a tracker")


@check(
    "TY405",
    "Workers draw the same random numbers",
    why="Each worker of a DataLoader gets a copy of the dataset with its generator, so all draw "
    "the same augmentation.",
    mend="Make the generator in __getitem__ from seed, epoch and index.",
    doubt="It looks for a generator made in __init__ and used in __getitem__, where some "
    "DataLoader has workers. numpy.random itself is left alone: since 1.9 PyTorch seeds it in "
    "each worker.",
    applies=lambda repository: _called(repository, {"DataLoader"}, set()),
)
def copied_generators(repository: Repository) -> Iterator[Finding]:
    loaders = [
        keyword(call, "num_workers")
        for source in repository.code
        for name, call in source.calls
        if name.rpartition(".")[2] == "DataLoader" and keyword(call, "worker_init_fn") is None
    ]
    if all(value is None or is_constant(value, 0) for value in loaders):
        return
    for source in repository.code:
        for node in source.nodes:
            if isinstance(node, ast.ClassDef):
                yield from _copied_in(source, node)


def _copied_in(source: Source, node: ast.ClassDef) -> Iterator[Finding]:
    methods = {each.name: each for each in node.body if isinstance(each, ast.FunctionDef)}
    if not {"__init__", "__getitem__"} <= {*methods}:
        return
    made = {
        target.attr
        for each in ast.walk(methods["__init__"])
        if isinstance(each, ast.Assign) and isinstance(each.value, ast.Call)
        if source.name(each.value.func) in GENERATORS
        for target in each.targets
        if isinstance(target, ast.Attribute)
    }
    for each in ast.walk(methods["__getitem__"]):
        if isinstance(each, ast.Attribute) and source.name(each) in {f"self.{n}" for n in made}:
            yield source.finding(each, f"self.{each.attr} is the same in each worker")
            return


@check(
    "TY406",
    "Split without a seed of its own",
    why="Whatever draws a number before it changes which examples are in the test, so runs are "
    "compared on different ones, and examples of the test get into training.",
    mend="train_test_split(..., random_state=0), random_split(..., generator=...); better, split "
    "once and write down the result.",
    doubt="Where a global seed is set just before, the split is the same for as long as nothing "
    "comes between them.",
    applies=has_training,
)
def unseeded_splits(repository: Repository) -> Iterator[Finding]:
    wanted = {"train_test_split": "random_state", "random_split": "generator"}
    hub = "seed"  # What train_test_split of Hugging Face's datasets calls it.
    for source in repository.code:
        for name, call in source.calls:
            last = name.rpartition(".")[2]
            if (
                last not in wanted
                or has_unpacking(call)
                or is_constant(keyword(call, "shuffle"), False)
            ):
                continue
            given = keyword(call, wanted[last]) or keyword(call, hub)
            if (given is None or is_constant(given, None)) and not (
                last == "random_split" and len(call.args) > 2
            ):
                yield source.finding(call, f"{last} without {wanted[last]}=")


@check(
    "TY407",
    "Random generator without a seed",
    why="It starts from the clock or the system, so the run cannot be repeated.",
    mend="Give it a seed that is made from the run's: default_rng(seed).",
    doubt="Numbers that are to differ, such as a name of a file, need none.",
    applies=has_training,
)
def unseeded_generators(repository: Repository) -> Iterator[Finding]:
    for source in repository.code:
        for name, call in source.calls:
            if name in GENERATORS - {"torch.Generator"} and not call.args and not call.keywords:
                yield source.finding(call, f"{name}()")
            elif name.rpartition(".")[2] in SEEDING:
                for given in call.args:
                    if any(each in CLOCK for each, _ in source.calls_in(given)):
                        yield source.finding(call, f"{name} takes its seed from the clock")
