"""Files of agents: what lies beside one is imported by it alone, its name is plain, and it cannot end the command."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import run_all
from benchmark.common.errors import UserError, run_main
from benchmark.loop import worker
from benchmark.loop.worker import execute
from benchmark.planning.registry import agent_class
from benchmark.planning.run import Run
from benchmark.runs.run import RunSpec
from benchmark.train import parse

ROOT = Path(__file__).resolve().parents[2]
AGENT = """
from agents.bc import BC
{imports}

class Mine(BC):
    name = "{name}"

    def scale(self):
        {lazily}
        return scale
"""


def agent_file(folder: Path, name: str, imports: str = "", lazily: str = "scale = 0", stem: str = "my_agent") -> str:
    """An agent's file in a folder that is made."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}.py"
    path.write_text(AGENT.format(name=name, imports=imports, lazily=lazily))
    return str(path)


def scale_of(path: str) -> float:
    """What an agent has from beside its file."""
    cls = agent_class(path)
    return cls.scale(object.__new__(cls))


def test_an_agent_file_imports_what_lies_beside_it(tmp_path):
    (tmp_path / "beside_losses.py").write_text("from beside_more import scale\n")
    (tmp_path / "beside_more.py").write_text("scale = 3\n")
    path = agent_file(tmp_path, "beside_1", "from beside_losses import scale as found", "scale = found")
    assert scale_of(path) == 3
    assert "beside_losses" not in sys.modules and str(tmp_path) not in sys.path


def test_each_agent_file_gets_what_lies_beside_itself_whenever_it_imports_it(tmp_path):
    for number in (1, 2):
        folder = tmp_path / str(number)
        path = agent_file(
            folder, f"apart_{number}", "import alike", "from alike import scale; assert alike.scale == scale"
        )
        (folder / "alike.py").write_text(f"scale = {number}\n")
    assert [scale_of(str(tmp_path / str(n) / "my_agent.py")) for n in (1, 2)] == [1, 2]
    assert agent_class(path).name == "apart_2", "two files of one name are two files"


def test_packages_beside_an_agent_file_are_imported_too_and_the_projects_own_stay_what_they_are(tmp_path):
    for name, text in {
        "kit/__init__.py": "",
        "kit/deep.py": "from top_helper import scale",
        "top_helper.py": "scale = 5",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "__init__.py").write_text("raise RuntimeError('not these')")
    imports = "import agents.flow, kit.deep, json.decoder\nimport kit.deep as deep"
    assert scale_of(agent_file(tmp_path, "packed", imports, "scale = kit.deep.scale + deep.scale")) == 10


def test_what_is_missing_beside_an_agent_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"does not import: ModuleNotFoundError: No module named 'nowhere_at_all'"):
        agent_class(agent_file(tmp_path, "lacking", "import nowhere_at_all"))


def test_an_agent_with_a_file_beside_it_is_run_by_a_process_of_the_launcher(tmp_path):
    (tmp_path / "beside_losses.py").write_text("scale = 3\n")
    path = agent_file(tmp_path, "beside_2", "from beside_losses import scale")
    asked = ["--suite=toy", f"--agents={path}", "--tasks=toy-modes", "--protocol=empty", f"--out={tmp_path / 'out'}"]
    assert run_all.main(asked) == 0
    assert (tmp_path / "out/beside_2/toy-modes/seeds-0/status.json").is_file()


@pytest.mark.parametrize("name", ["", "..", "a/b", "a b", "a\\nb", "a\\0b", "-x", "é", "x" * 101])
def test_an_agents_name_is_letters_digits_and_signs_that_every_folder_can_have(tmp_path, name):
    path = agent_file(tmp_path, name)
    with pytest.raises(UserError, match="an agent's name has letters, digits, '_' and '-' only") as raised:
        agent_class(path)
    assert "\n" not in str(raised.value) and "\0" not in str(raised.value)


@pytest.mark.parametrize(
    "text, said",
    [
        ("import sys; sys.exit(0)", "SystemExit: 0"),
        ("raise BaseException('two\\nlines')", "BaseException: two"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    ],
)
def test_a_file_that_ends_the_process_is_a_mistake_in_one_line(tmp_path, capsys, text, said):
    path = tmp_path / "ends.py"
    path.write_text(text)
    with pytest.raises(SystemExit) as ended:
        run_main(lambda: run_all.main(["--suite=toy", f"--agents={path}", "--dry-run"]))
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"error: {path} does not import: {said}\n"


def test_ctrl_c_while_a_file_is_imported_still_interrupts(tmp_path):
    path = tmp_path / "slow.py"
    path.write_text("import time\ntime.sleep(20)\n")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a worker of the tests may ignore it
    try:
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        started = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            agent_class(str(path))
        assert time.monotonic() - started < 10
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_agent_that_ends_the_process_while_it_trains_has_failed(tmp_path, monkeypatch):
    spec = parse(["--agent=bc", "--task=toy-modes", f"--out={tmp_path}"])

    def leaves(*_):
        raise SystemExit(0)

    monkeypatch.setattr(Run, "ensure_data", leaves)
    with pytest.raises(UserError, match="bc on toy-modes ended by SystemExit: 0"):
        execute(spec)
    assert worker.execute_all([spec]) == 1
    assert '"state": "failed"' in (spec.path / "status.json").read_text()


def test_sys_exit_from_within_is_no_success(capsys):
    with pytest.raises(SystemExit) as ended:
        run_main(lambda: sys.exit(0))
    assert ended.value.code == 2 and capsys.readouterr().err.startswith("error: ended from within")


def test_help_is_a_success():
    for command in ([ROOT / "run_all.py"], ["-m", "benchmark.train"]):
        done = subprocess.run([sys.executable, *command, "--help"], capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == 0 and done.stdout.startswith("usage:") and not done.stderr


def test_a_run_travels_with_its_agents_file(tmp_path):
    (tmp_path / "beside_losses.py").write_text("scale = 3\n")
    path = agent_file(tmp_path, "beside_3", "from beside_losses import scale")
    spec = RunSpec.from_json(parse([f"--agent={path}", "--task=toy-modes"]).to_json())
    code = "from benchmark.planning.run import Run; from benchmark.runs.run import RunSpec; "
    code += f"print(Run(RunSpec.from_json({spec.to_json()!r})).config['agent'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "beside_3", done.stderr
