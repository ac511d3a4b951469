"""What the whole package promises about itself."""

import ast
import importlib
import inspect
import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import naive
import pytest

import merps
from merps.kernels.compiler import Kernel

ROOT = Path(merps.__file__).parents[1]
MODULES = sorted((ROOT / "merps").rglob("*.py"))
KERNELS = sorted((ROOT / "merps" / "kernels").glob("*.py"))
HEAVY = (
    *("torch", "mne", "sklearn", "scipy.signal", "pydantic", "numba", "h5py"),
    *("matplotlib", "rich"),
)
# Nothing that a file says may ever be executed.
FORBIDDEN = re.compile(
    r"\bimport pickle|\bpickle\.|torch\.load|allow_pickle|yaml\.load\(|extractall|"
    r"shell=True|(?<!\.)\beval\(|\bexec\(|joblib\.load|read_pickle|\bshelve\b|\bmarshal\b"
)


def name_of(path):
    return str(path.relative_to(ROOT))


def loaded_by(code):
    """Names of the heavy packages that some code has loaded, in a fresh process."""
    tell = f"import sys; print(*(m for m in {HEAVY!r} if m in sys.modules))"
    command = [sys.executable, "-c", f"{code}\n{tell}"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    return set(result.stdout.splitlines()[-1].split())


def test_the_menu_is_complete_and_everything_on_it_is_there():
    assert len(set(merps.__all__)) == len(merps.__all__)
    for name in merps.__all__:
        assert getattr(merps, name) is not None
    assert set(dir(merps)) == set(merps.__all__)
    with pytest.raises(
        AttributeError, match="module 'merps' has no attribute 'nothing'"
    ):
        _ = merps.nothing


def test_every_package_lists_what_is_there():
    packages = [p for p in pkgutil.walk_packages(merps.__path__, "merps.") if p.ispkg]
    assert {p.name for p in packages} >= {"merps.store", "merps.pipeline", "merps.cli"}
    for package in packages:
        module = importlib.import_module(package.name)
        for name in getattr(module, "__all__", ()):
            assert getattr(module, name) is not None
    with pytest.raises(AttributeError, match=r"'merps.pipeline' has no attribute 'no'"):
        _ = importlib.import_module("merps.pipeline").no


def test_the_verbs_of_the_command_line_are_on_the_menu():
    verbs = {"simulate_dataset", "check_dataset", "preprocess_dataset", "fit_model"}
    verbs |= {"evaluate_model", "predict_dataset", "score_predictions", "score"}
    verbs |= {"export_windows", "write_bundle", "check_bundle"}
    assert verbs <= set(merps.__all__)


def test_importing_merps_loads_nothing_heavy():
    assert loaded_by("import merps; merps.__version__; dir(merps)") == set()


def test_help_loads_no_more_than_it_needs():
    code = (
        "import sys; sys.argv = ['merps', '--help']\n"
        "from merps.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 0"
    )
    assert loaded_by(code) <= {"rich"}


def test_the_version_is_told_without_loading_the_commands():
    code = "import sys; sys.argv = ['merps', '--version']\nfrom merps.cli import main\n"
    assert loaded_by(f"{code}main()\nassert 'typer' not in sys.modules") == set()


def test_reading_and_scoring_load_no_models():
    code = "import merps; merps.open_dataset, merps.Store, merps.score_predictions"
    assert not loaded_by(code) & {"torch", "mne", "sklearn", "scipy.signal"}
    assert loaded_by("import merps.submission; dir(merps.submission)") == set()


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_modules_are_short_and_say_what_they_are(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 400
    assert ast.get_docstring(ast.parse(text))


def test_nothing_that_is_read_is_ever_executed():
    found = [
        f"{name_of(path)}: {line.strip()}"
        for path in MODULES
        for line in path.read_text().splitlines()
        if FORBIDDEN.search(line)
    ]
    assert found == []


def test_only_the_command_line_prints_and_nothing_asserts():
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            assert not isinstance(node, ast.Assert), name_of(path)
            prints = (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id == "print"
            )
            assert not prints or "cli" in path.parts, name_of(path)


def kernels():
    """Every compiled loop of merps."""
    for path in KERNELS:
        module = importlib.import_module(f"merps.kernels.{path.stem}")
        yield from (item for item in vars(module).values() if isinstance(item, Kernel))


@pytest.mark.parametrize("loop", list(kernels()), ids=lambda loop: loop.name)
def test_every_kernel_has_a_slow_reference_that_a_test_uses(loop):
    name = loop.loop.__name__
    assert callable(getattr(naive, name))
    tests = "".join(path.read_text() for path in (ROOT / "tests").glob("test_*.py"))
    assert re.search(rf"naive\.{name}\b", tests)
    assert inspect.getdoc(loop)


def test_kernels_are_kept_for_processes_that_come_later(tmp_path):
    code = (
        "import importlib, sys\n"
        "from merps.kernels.compiler import Kernel\n"
        f"names = {[path.stem for path in KERNELS]!r}\n"
        "for name in names:\n"
        "    module = importlib.import_module(f'merps.kernels.{name}')\n"
        "    for item in vars(module).values():\n"
        "        if isinstance(item, Kernel):\n"
        "            item.prepare()\n"
        "print('numba' in sys.modules)\n"
    )
    environment = os.environ | {"MERPS_CACHE_DIR": str(tmp_path)}
    environment.pop("NUMBA_DISABLE_JIT", None)
    needs_numba = []
    for _ in range(2):
        ran = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            env=environment,
            check=True,
        )
        needs_numba.append(ran.stdout.strip())
    assert needs_numba == ["True", "False"]
    expected = sum(len(loop.signatures) for loop in kernels())
    assert len(list((tmp_path / "kernels").glob("*.o"))) == expected


def test_imports_go_down_only():
    # In a process of its own, since it would reconfigure our logging.
    pytest.importorskip("importlinter")
    code = (
        "import sys; from importlinter.cli import lint_imports\n"
        "sys.exit(lint_imports(config_filename='pyproject.toml', no_cache=True))"
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
