"""TY5: training and evaluation. What is wrong here trains without an error, to worse numbers."""

import ast
import re
from collections.abc import Iterator

from trainyard.checks.definition import Finding, check
from trainyard.checks.of_files import has_training
from trainyard.checks.repository import Repository
from trainyard.checks.sources import Function, Source, is_constant, keyword

NO_GRADIENTS = {"no_grad", "inference_mode", "set_grad_enabled", "requires_grad_"}
EVALUATION = re.compile(r"(^|_)(test|eval|evaluate|evaluation|valid|validate|validation)(_|$)")
ORDERS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)
NETWORK = re.compile(r"(^|[._])(model|net|network|classifier|module)\w*$", re.IGNORECASE)
# What makes, loads or stores a network, and calls none.
NO_CALL = re.compile(r"[A-Z]|(load|build|make|create|get|save|export|init)_")
LIGHTNING = ("lightning", "pytorch_lightning")


def uses_torch(repository: Repository) -> bool:
    """Return whether the project trains with PyTorch."""
    return bool(repository.training) and any(is_torch(each) for each in repository.code)


def is_torch(source: Source) -> bool:
    """Return whether a source imports PyTorch."""
    return any(name.partition(".")[0] == "torch" for name in source.imports.values())


def is_lightning(source: Source) -> bool:
    """Return whether a source imports Lightning, which switches modes and gradients itself."""
    return any(name.partition(".")[0] in LIGHTNING for name in source.imports.values())


def _names(node: ast.AST) -> set[str]:
    """Return, in lower case, the names, attributes and texts below a node."""
    found = set()
    for each in ast.walk(node):
        if isinstance(each, ast.Name):
            found.add(each.id.lower())
        elif isinstance(each, ast.Attribute):
            found.add(each.attr.lower())
        elif isinstance(each, ast.Constant) and isinstance(each.value, str):
            found.add(each.value.lower())
    return found


def _is_test_name(name: str) -> bool:
    return bool(re.search(r"(^|_)test(_|$|\d)|^[xy]_?test$|^test[A-Z_]?", name))


@check(
    "TY501",
    "The test split chooses",
    why="The best epoch on the test is better there by chance, so the number that is reported is "
    "better than what new data will get.",
    mend="Choose by a validation split, and look at the test once, at the end.",
    doubt="It goes by names: a comparison with a best value, of one that is called test or in a "
    "function of that name; a monitor, validation_data or scheduler of a test. A validation "
    "split that is called test is found, too; a test split that is called val is not.",
    applies=has_training,
)
def chosen_by_test(repository: Repository) -> Iterator[Finding]:
    for source in repository.code:
        tests = {
            id(each)
            for node in source.functions
            if re.fullmatch(r"test|test_(epoch|one_epoch|model|step)|\w+_test", node.name)
            for each in ast.walk(node)
        }
        for node in source.nodes:
            if isinstance(node, ast.Compare) and any(isinstance(op, ORDERS) for op in node.ops):
                names = {name for side in (node.left, *node.comparators) for name in _names(side)}
                tested = any(_is_test_name(name) for name in names if "best" not in name)
                if any("best" in name for name in names) and (tested or id(node) in tests):
                    yield source.finding(node, ast.unparse(node)[:60])
        for name, call in source.calls:
            yield from _chosen_in_call(source, name, call)


def _chosen_in_call(source: Source, name: str, call: ast.Call) -> Iterator[Finding]:
    last = name.rpartition(".")[2]
    monitor = keyword(call, "monitor")
    if isinstance(monitor, ast.Constant) and _is_test_name(str(monitor.value)):
        yield source.finding(call, f"{last}(monitor={monitor.value!r})")
    data = keyword(call, "validation_data")
    if data is not None and any(map(_is_test_name, _names(data))):
        yield source.finding(call, f"{last}(validation_data={ast.unparse(data)[:40]})")
    decides = last == "step" and "sched" in name.lower()
    given = {each for value in call.args for each in _names(value)} if decides else set()
    if any(map(_is_test_name, given)):
        yield source.finding(call, "the test's value changes the learning rate")


def _calls_network(source: Source, node: Function) -> ast.Call | None:
    for name, call in source.calls_in(node):
        calls = NETWORK.search(name) and not NO_CALL.match(name.rpartition(".")[2])
        if calls and call.args:
            return call
    return None


def _has_no_gradients(source: Source, node: Function) -> bool:
    names = [source.name(each).rstrip("()") for each in node.decorator_list]
    names += [
        source.name(item.context_expr).rstrip("()")
        for each in ast.walk(node)
        if isinstance(each, ast.With)
        for item in each.items
    ]
    return any(name.rpartition(".")[2] in NO_GRADIENTS for name in names)


def _evaluates(source: Source, node: Function) -> bool:
    """Return whether a function evaluates: it says so, calls what it is given, and does not train.

    A function `test()` without a parameter tries the layers above it.
    """
    calls = [name for name, _ in source.calls_in(node)]
    networks = {"model", "net", "network"} | {
        each.arg for each in node.args.args if NETWORK.search(each.arg)
    }
    evaluates = node.args.args and any(name.rpartition(".")[2] in networks for name in calls)
    trains = any(name.endswith((".backward", ".grad", ".step")) for name in calls)
    return bool(EVALUATION.search(node.name) and evaluates) and not trains


@check(
    "TY502",
    "Evaluates without model.eval()",
    why="Dropout stays on, and batch norm uses the batch and learns from it, so the numbers are "
    "worse, random, and changed by looking.",
    mend="model.eval() before, model.train() after.",
    doubt="It looks at functions that call a network without gradients, or are called test, "
    "evaluate, validate or the like, in files where nothing calls eval() or train(False). Another "
    "file may do it; a network may have no such layers.",
    applies=uses_torch,
)
def no_eval(repository: Repository) -> Iterator[Finding]:
    for source in repository.code:
        if not is_torch(source) or is_lightning(source):
            continue
        switches = [
            name for name, call in source.calls if name.endswith(".eval") and not call.args
        ] + [name for name, call in source.calls if name.endswith(".train") and call.args]
        if switches:
            continue
        for node in source.functions:
            if not _has_no_gradients(source, node) and not _evaluates(source, node):
                continue
            if call := _calls_network(source, node):
                yield source.finding(call, f"{node.name}() never calls eval()")


@check(
    "TY503",
    "Evaluates with gradients",
    why="It keeps every layer's outputs for a backward pass that never comes: several times the "
    "memory, and slower.",
    mend="with torch.inference_mode(): around the evaluation.",
    doubt="It looks at functions that call a network and eval(), or are called test, evaluate, "
    "validate or the like, where the file has neither no_grad nor inference_mode. Gradients of the "
    "inputs need them.",
    applies=uses_torch,
)
def evaluated_with_gradients(repository: Repository) -> Iterator[Finding]:
    for source in repository.code:
        if not is_torch(source) or is_lightning(source):
            continue
        if any(word in NO_GRADIENTS for word in source.words) or "backward" not in {
            name.rpartition(".")[2] for each in repository.code for name, _ in each.calls
        }:
            continue
        for node in source.functions:
            calls = [*source.calls_in(node)]
            evaluates = any(n.endswith(".eval") and not call.args for n, call in calls)
            evaluates |= _evaluates(source, node)
            trained = any(name.endswith((".backward", ".grad")) for name, _ in calls)
            if evaluates and not trained and (call := _calls_network(source, node)):
                yield source.finding(call, f"{node.name}() keeps gradients")


@check(
    "TY504",
    "The device is fixed in the code",
    why="It does not run on a processor, an Apple or another GPU: no test, no continuous "
    "integration, no laptop.",
    mend='device = "cuda" if torch.cuda.is_available() else "cpu", once; then .to(device).',
    doubt="A line that asks is_available() itself is left alone, and one below such an `if`.",
    applies=uses_torch,
)
def fixed_device(repository: Repository) -> Iterator[Finding]:
    for source in repository.code:
        asked = {
            id(each)
            for node in source.nodes
            if isinstance(node, ast.If | ast.IfExp) and _asks_for_device(node.test)
            for each in ast.walk(node)
        }
        for name, call in source.calls:
            if id(call) in asked:
                continue
            first = call.args[0] if call.args else keyword(call, "device")
            fixed = isinstance(first, ast.Constant) and str(first.value).startswith("cuda")
            if name.endswith(".cuda") and name != "torch.cuda" and (not call.args or fixed):
                yield source.finding(call, ".cuda()")
            elif name.endswith(".to") and fixed:
                yield source.finding(call, f".to({ast.unparse(first or call)})")


def _asks_for_device(test: ast.AST) -> bool:
    return any(re.search("cuda|gpu|device|is_available", name) for name in _names(test))


@check(
    "TY505",
    "Gradients are never set to zero",
    why="PyTorch adds the gradients of each step to those of all before it.",
    mend="optimizer.zero_grad() in each step.",
    doubt="Another file may do it.",
    applies=uses_torch,
)
def no_zero_grad(repository: Repository) -> Iterator[Finding]:
    for source in repository.code:
        names = {name.rpartition(".")[2] for name, _ in source.calls}
        if "zero_grad" in names or not is_torch(source) or is_lightning(source):
            continue
        for name, call in source.calls:
            if re.search(r"opt\w*\.step$", name, re.IGNORECASE) and "backward" in names:
                yield source.finding(call, f"{name}() and no zero_grad()")
                break


@check(
    "TY506",
    "The sum of losses keeps every graph",
    why="Each loss holds the tensors of its step, so memory grows until it is full.",
    mend="total += loss.detach(), and total.item() at the end.",
    doubt="A sum whose backward() is called needs the graphs, and is left alone.",
    applies=uses_torch,
)
def summed_losses(repository: Repository) -> Iterator[Finding]:
    for source in repository.code:
        for node in source.functions if "backward" in source.words else ():
            calls = [*source.calls_in(node)]
            if not any(name == "loss.backward" for name, _ in calls):
                continue
            if any("loss.detach" in ast.unparse(each) for each in _assigned(node, "loss")):
                continue
            if any("item()" in ast.unparse(each) for each in _assigned(node, "loss")):
                continue
            for each in ast.walk(node):
                if not isinstance(each, ast.AugAssign) or not isinstance(each.op, ast.Add):
                    continue
                total = source.name(each.target)
                summed = any(name == f"{total}.backward" for name, _ in calls)
                if "loss" in _factors(each.value) and not summed and total != "loss":
                    yield source.finding(each, ast.unparse(each)[:60])


def _assigned(node: ast.AST, name: str) -> Iterator[ast.expr]:
    for each in ast.walk(node):
        if isinstance(each, ast.Assign) and any(name in _names(target) for target in each.targets):
            yield each.value


def _factors(node: ast.expr) -> set[str]:
    """Return the names that a value is, or is a product or quotient of."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult | ast.Div):
        return _factors(node.left) | _factors(node.right)
    return {node.id} if isinstance(node, ast.Name) else set()


@check(
    "TY507",
    "Softmax before cross-entropy",
    why="The loss applies log-softmax itself: applied twice, gradients are small and training is "
    "slow, without an error.",
    mend="Give the loss the logits; take softmax only for what people read.",
    doubt="It sees a softmax inside the call of the loss, and Keras's from_logits=True where the "
    "last layer has activation='softmax' in the same file; no further.",
    applies=has_training,
)
def softmax_twice(repository: Repository) -> Iterator[Finding]:
    for source in repository.code:
        keras_softmax = any(
            isinstance(value := keyword(call, "activation"), ast.Constant)
            and value.value == "softmax"
            for _, call in source.calls
        )
        for name, call in source.calls:
            takes_logits = re.search(r"(?i)cross_?entropy", name) and (
                "logits" in name or not re.search(r"(?i)binary_?cross", name)
            )
            if takes_logits and call.args:
                inner = [n.rpartition(".")[2] for n, _ in source.calls_in(call.args[0])]
                if {"softmax", "log_softmax", "Softmax"} & {*inner}:
                    yield source.finding(call, f"{name}(softmax(...))")
            if keras_softmax and is_constant(keyword(call, "from_logits"), True):
                yield source.finding(call, "from_logits=True, and the last layer has softmax")
