"""TY3: what is loaded runs nothing. A pickle runs any code, with all that its reader may do."""

import ast
import re
from collections.abc import Iterator

from trainyard.checks.definition import Finding, check
from trainyard.checks.of_python import has_python
from trainyard.checks.repository import Repository
from trainyard.checks.sources import has_unpacking, is_constant, keyword

PICKLES = {
    *("pickle.load", "pickle.loads", "pickle.Unpickler", "cPickle.load", "cPickle.loads"),
    *("dill.load", "dill.loads", "cloudpickle.load", "cloudpickle.loads", "joblib.load"),
    *("pandas.read_pickle", "shelve.open"),
}
SAFE_LOADERS = {"SafeLoader", "CSafeLoader", "BaseLoader", "CBaseLoader"}
# As pip, conda, Poetry and the lock files write it.
FLOOR = re.compile(
    r"\b(?:py)?torch\s*[\"']?\s*(?:={1,2}|>=|~=|\(>=)\s*(?:\{\s*version\s*=\s*)?[\"']?\s*"
    r"(?:\^|~=?|==|>=)?\s*(\d+)\.(\d+)"
    r"|^name = \"torch\"\s+version = \"(\d+)\.(\d+)",
    re.MULTILINE,
)
SAFE_BY_DEFAULT = (2, 6)  # https://pytorch.org/docs/stable/generated/torch.load.html


def has_safe_torch(repository: Repository) -> bool:
    """Return whether the project declares a PyTorch whose load is safe by default."""
    names = repository.find("*requirements*.txt", "requirements/*.txt", "pyproject.toml")
    names += repository.find("*constraints*.txt", "*environment*.y*ml", "setup.py", "setup.cfg")
    names += repository.find("uv.lock", "poetry.lock", "pdm.lock", "pixi.toml")
    floors = [FLOOR.search(repository.text(name)) for name in names]
    versions = [(int(f[1] or f[3]), int(f[2] or f[4])) for f in floors if f]
    return bool(versions) and min(versions) >= SAFE_BY_DEFAULT


@check(
    "TY301",
    "torch.load without weights_only=True",
    why="A checkpoint is a pickle: loading somebody's weights runs whatever they put into it.",
    mend="torch.load(path, weights_only=True), and save tensors and plain values; or safetensors.",
    doubt="From PyTorch 2.6 on this is the default, so a project that requires 2.6 may leave it "
    "out; weights_only=False counts always.",
    applies=has_python,
)
def torch_load(repository: Repository) -> Iterator[Finding]:
    is_safe = has_safe_torch(repository)
    for source in repository.sources:
        for name, call in source.calls:
            if name != "torch.load" or has_unpacking(call):
                continue
            value = keyword(call, "weights_only")
            if is_constant(value, False):
                yield source.finding(call, "weights_only=False")
            elif value is None and not is_safe:
                yield source.finding(call, "torch.load without weights_only=True")


@check(
    "TY302",
    "Reads a pickle",
    why="Loading a pickle runs whatever its writer put into it.",
    mend="Write arrays as .npy or safetensors, tables as CSV or Parquet, settings as JSON.",
    doubt="Where nobody but this program writes the file, it is safe: say so as the reason.",
    applies=has_python,
)
def pickles(repository: Repository) -> Iterator[Finding]:
    for source in repository.sources:
        for name, call in source.calls:
            if name in PICKLES:
                yield source.finding(call, name)


@check(
    "TY303",
    "NumPy with allow_pickle=True",
    why="The array file may then hold a pickle, and loading it runs whatever is in it.",
    mend="Save arrays of numbers or texts, one for each name (numpy.savez), and leave it out.",
    doubt="Old files of object arrays cannot be read otherwise: convert them once.",
    applies=has_python,
)
def numpy_pickles(repository: Repository) -> Iterator[Finding]:
    for source in repository.sources:
        for name, call in source.calls:
            if name.endswith("load") and is_constant(keyword(call, "allow_pickle"), True):
                yield source.finding(call, f"{name}(allow_pickle=True)")


@check(
    "TY304",
    "yaml.load without a safe loader",
    why="A YAML file may name any Python object, which is then made with arguments of its choice.",
    mend="yaml.safe_load(file).",
    doubt="yaml.FullLoader counts, too: holes in it were found before (CVE-2020-14343).",
    applies=has_python,
)
def yaml_load(repository: Repository) -> Iterator[Finding]:
    for source in repository.sources:
        for name, call in source.calls:
            if name in ("yaml.unsafe_load", "yaml.full_load"):
                yield source.finding(call, name)
            if name not in ("yaml.load", "yaml.load_all"):
                continue
            loader = keyword(call, "Loader") or (call.args[1] if len(call.args) > 1 else None)
            chosen = source.name(loader).rpartition(".")[2] if loader else "no loader"
            if chosen not in SAFE_LOADERS:
                yield source.finding(call, f"{name} with {chosen or 'a loader of its own'}")


@check(
    "TY305",
    "trust_remote_code=True",
    why="It runs code from somebody's repository on a hub, in the version of today.",
    mend="Take a network of the library, or name the commit by revision= and read its code.",
    doubt="With revision= and a commit of 40 digits, it is left alone.",
    applies=has_python,
)
def remote_code(repository: Repository) -> Iterator[Finding]:
    for source in repository.sources:
        for name, call in source.calls:
            if not is_constant(keyword(call, "trust_remote_code"), True):
                continue
            commit = keyword(call, "revision")
            text = commit.value if isinstance(commit, ast.Constant) else ""
            if not re.fullmatch(r"[0-9a-f]{40}", str(text)):
                yield source.finding(call, f"{name or 'a call'}(trust_remote_code=True)")


@check(
    "TY306",
    "Runs a text as code",
    why="A setting or a file that reaches eval or exec can do anything, and no tool sees what.",
    mend="ast.literal_eval for values; a dictionary from names to functions for choices.",
    doubt="A constant text is left alone.",
    applies=has_python,
)
def evaluated_texts(repository: Repository) -> Iterator[Finding]:
    for source in repository.code:
        for name, call in source.calls:
            if (
                name in ("eval", "exec")
                and call.args
                and not isinstance(call.args[0], ast.Constant)
            ):
                yield source.finding(call, f"{name}()")


@check(
    "TY307",
    "Keras loads code",
    why="safe_mode=False lets a saved network bring functions of its own, which then run.",
    mend="Leave it out, and register layers with keras.saving.register_keras_serializable.",
    doubt="A test of exactly this does it on purpose.",
    applies=has_python,
)
def unsafe_keras(repository: Repository) -> Iterator[Finding]:
    for source in repository.sources:
        for name, call in source.calls:
            if name.endswith("enable_unsafe_deserialization"):
                yield source.finding(call, name)
            elif is_constant(keyword(call, "safe_mode"), False):
                yield source.finding(call, f"{name}(safe_mode=False)")


@check(
    "TY308",
    "Downloads without checking who answers",
    why="Anybody on the way can replace the data or the weights.",
    mend="Leave verification on; behind a proxy, name its certificate by SSL_CERT_FILE.",
    doubt="Whether downloads are compared with a checksum is not looked at.",
    applies=has_python,
)
def unverified_downloads(repository: Repository) -> Iterator[Finding]:
    for source in repository.sources:
        for node in source.nodes:
            if isinstance(node, ast.Attribute) and node.attr == "_create_unverified_context":
                yield source.finding(node, "ssl._create_unverified_context")
        for name, call in source.calls:
            is_request = name.partition(".")[0] in ("requests", "httpx")
            if is_request and is_constant(keyword(call, "verify"), False):
                yield source.finding(call, f"{name}(verify=False)")
