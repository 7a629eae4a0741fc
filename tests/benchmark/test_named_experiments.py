"""The experiment that runs is the one that is named: whose hyperparameters, for how long, and under which name."""

import dataclasses
import json

import pytest

import run_all
from agents.roster import PAPER_AGENTS
from analysis import comparable, load_runs
from analysis.names import DOMAINS, TASKS
from analysis.tabulating.formats import to_html, to_latex, to_markdown
from analysis.tabulating.reproduction import reproduction_table
from analysis.tabulating.runs import summary
from analysis.tabulating.with_published import domain_table, task_table
from benchmark import train
from benchmark.common.errors import UserError
from benchmark.launching import front_door
from benchmark.planning.configure import configure
from benchmark.planning.plan import choose, plan, settings_for
from benchmark.planning.protocols import get_protocol
from benchmark.planning.registry import agent_class, agent_names
from benchmark.planning.run import Run
from benchmark.planning.suites import SUITES
from benchmark.planning.tuned import tuned, tuned_with_origin
from benchmark.runs.run import RunSpec
from envs.tasks import OGBENCH_DOMAINS, QUALITY_DOMAINS, get_domain, get_task
from tests.helpers.simulated_runs import write_run

# The authors' experiments/reproduce_quality.py, arXiv 2601.14234: nine methods on data of another quality.
QUALITY_METHODS = {"qam_e", "qam_f", "qam", "rebrac", "fedit", "fql", "qsm", "dsrl", "bam"}
SCENE = "scene-play-singletask-task1-v0"
CUBE = "cube-single-play-singletask-task1-v0"


def runs_of(tmp_path, *arguments):
    options = run_all.parser().parse_args([*arguments, f"--out={tmp_path}"])
    return front_door.runs_asked_for(options, SUITES[options.suite], tmp_path)


def text_of(capsys, *arguments):
    assert run_all.main([*arguments]) == 0
    return " ".join(capsys.readouterr().out.split())


# ----------------------------------------------------------------------------------------- whose hyperparameters


@pytest.mark.parametrize("agent", PAPER_AGENTS)
@pytest.mark.parametrize("domain", QUALITY_DOMAINS, ids=lambda domain: domain.name)
def test_stitched_and_noisy_data_take_the_values_of_the_data_that_were_tuned_on(agent, domain):
    base = domain.name.replace("stitch", "navigate").replace("noisy", "play")
    assert base in {known.name for known in OGBENCH_DOMAINS}
    assert tuned(agent, domain.name) == tuned(agent, base) != {}
    named = get_domain(base)
    protocol = ("chunk_length", "discount", "pessimism", "sparse", "episode_limit")
    assert [getattr(domain, name) for name in protocol] == [getattr(named, name) for name in protocol]


def test_an_own_value_wins_over_the_borrowed_one(tmp_path):
    source = "from agents.bc import BC\n\n\nclass Borrower(BC):\n    name = 'borrower'\n"
    (tmp_path / "borrower.py").write_text(source)
    text = (
        "domains:\n  scene-play: {flow_steps: 3}\n  cube-double-play: {flow_steps: 4}\n  scene-noisy: {flow_steps: 5}"
    )
    (tmp_path / "borrower.yaml").write_text(text)
    agent_class(str(tmp_path / "borrower.py"))
    assert [tuned("borrower", f"{name}-noisy")["flow_steps"] for name in ("scene", "cube-double")] == [5, 4]


def test_the_suite_of_other_data_is_the_published_one(tmp_path):
    suite = SUITES["ogbench_quality"]
    assert set(suite.agents) == QUALITY_METHODS and len(suite.seeds) == 12
    runs = runs_of(tmp_path, "--suite=ogbench_quality")
    assert {run.protocol.steps for run in runs} == {1_000_000} and {run.protocol.eval_every for run in runs} == {50_000}
    for run in runs:
        assert any(origin.startswith("published: QAM") for origin in run.origins.values()), run
        assert not any(origin.startswith(("ours", "derived")) for origin in run.origins.values())


def test_d4rl_runs_the_agents_whose_values_are_published_and_others_by_name(tmp_path):
    runs = runs_of(tmp_path, "--suite=d4rl")
    assert {run.agent for run in runs} == {"fql", "ifql"}
    assert all(run.origins["alpha"].startswith("published: FQL") for run in runs if run.agent == "fql")
    assert all(run.origins["expectile"].startswith("derived: FQL") for run in runs if run.agent == "ifql")


@pytest.mark.parametrize(
    "agent, task, name, origin",
    [
        ("fql", SCENE, "alpha", "published: QAM, arXiv 2601.14234, experiments/reproduce.py"),
        ("fql", "scene-noisy-singletask-task1-v0", "alpha", "published: QAM, arXiv 2601.14234, experiments/repr"),
        ("rql", SCENE, "expectile", "published: RQL"),
        ("rql", "scene-noisy-singletask-task1-v0", "expectile", "derived: RQL"),
        ("tfql", SCENE, "alpha", "derived: RQL's values"),
        ("bdpo", SCENE, "eta", "ours: "),
        ("bdpo", "scene-noisy-singletask-task1-v0", "eta", "ours: "),
        ("diffusion_ql", SCENE, "max_backup", "ours: "),
        ("fql", SCENE, "discount", "domain"),
        ("fql", SCENE, "learning_rate", "default"),
        ("bc", SCENE, "flow_steps", "default"),
    ],
)
def test_every_hyperparameter_has_an_origin(agent, task, name, origin):
    cls = agent_class(agent)
    _, origins = choose(cls, get_task(task), {})
    assert set(origins) == {field.name for field in dataclasses.fields(cls.Config)}
    assert origins[name].startswith(origin)


def test_the_last_layer_that_changes_a_value_is_its_origin(tmp_path):
    quickstart = runs_of(tmp_path, "--suite=quickstart", "--set=rql:alpha=2", "--agents=rql")[0].origins
    assert (quickstart["hidden"], quickstart["expectile"], quickstart["alpha"]) == ("suite", "suite", "set")
    cls, task = agent_class("fql"), get_task(SCENE)
    assert choose(cls, task, {"alpha": "300"})[1]["alpha"].startswith("published"), "the published value, said again"
    assert choose(cls, task, {"alpha": "3"})[1]["alpha"] == "set"


def test_a_tuned_file_of_ones_own_is_ours_unless_it_says_published(tmp_path):
    (tmp_path / "tuner.py").write_text("from agents.bc import BC\n\n\nclass Tuner(BC):\n    name = 'tuner'\n")
    (tmp_path / "tuner.yaml").write_text(
        "source: my sweep\npublished: false\ndomains:\n  scene-play: {flow_steps: 3}\n"
    )
    agent_class(str(tmp_path / "tuner.py"))
    assert tuned_with_origin("tuner", "scene-play") == ({"flow_steps": 3}, "ours: my sweep")
    assert tuned_with_origin("tuner", "cube-double-play") == ({}, "")


def test_the_plan_says_where_hyperparameters_come_from(capsys, tmp_path):
    asked = ["--suite=ogbench", "--domains=scene-play", "--dry-run", f"--out={tmp_path}", f"--data-dir={tmp_path}"]
    text = text_of(capsys, *asked, "--agents=rql,tfql,bdpo,bc", "--set=bc:flow_steps=3")
    for words in ("published: RQL, arXiv 2606.17551", "derived: RQL's values", "ours: mazes after", "flow_steps │ set"):
        assert words in text
    assert "all │ default" in text_of(capsys, *asked, "--agents=bc")


def test_a_launch_and_its_records_say_where_hyperparameters_come_from(capsys, tmp_path):
    asked = ["--suite=toy", "--agents=rql", "--tasks=toy-modes", "--protocol=empty", f"--out={tmp_path}"]
    assert "alpha, expectile" in text_of(capsys, *asked, "--launcher=debug", "--set=flow_steps=3")
    run = next(tmp_path.glob("rql/*/*/provenance.json"))
    recorded = json.loads(run.read_text())["starts"][0]["hyperparameters"]
    assert (recorded["alpha"], recorded["flow_steps"], recorded["discount"]) == ("suite", "set", "domain")
    assert set(recorded) == set(json.loads(run.with_name("config.json").read_text())["hyperparameters"])
    assert "hyperparameters" not in text_of(capsys, *asked, "--launcher=debug", "--set=flow_steps=3")


def test_runs_made_before_origins_were_recorded_are_still_the_same_runs(tmp_path):
    spec = train.parse(["--agent=bc", f"--task={CUBE}", f"--out={tmp_path}"])
    before = json.loads(spec.to_json())
    del before["origins"], before["shown_as"]
    old = RunSpec.from_json(json.dumps(before))
    assert old.origins == {} and Run(old).config == Run(spec).config
    assert "label" not in Run(spec).config and old.path == spec.path


# ------------------------------------------------------------------------------- defaults that switch something off

HARMLESS_ZEROS = {("tfql", "inner_pessimism"), ("bdpo", "decay_steps"), ("trqam", "online_kl_budget")}
HARMLESS_ZEROS |= {("fan", "online_alpha2")}


def test_defaults_of_zero_are_said_to_switch_the_algorithm_off_or_known_not_to():
    for agent in agent_names():
        for field in dataclasses.fields(agent_class(agent).Config):
            zero = field.default == 0 and not isinstance(field.default, bool)
            assert zero == bool(field.metadata["off"] or (agent, field.name) in HARMLESS_ZEROS), (agent, field.name)


@pytest.mark.parametrize("agent, name", [("fedit", "edit_scale"), ("rebrac", "alpha")])
def test_a_default_that_switches_an_algorithm_off_is_refused_by_name(agent, name, tmp_path):
    message = rf"'{agent}' has no tuned {name} for cube-single-play.*switches the algorithm off.*--set {name}=\.\.\."
    for arguments in (["--suite=quickstart", f"--agents=bc,{agent}"], ["--suite=quickstart", f"--agents={agent}"]):
        with pytest.raises(UserError, match=message) as error:
            run_all.main([*arguments, "--dry-run", f"--out={tmp_path / 'out'}"])
        assert "\n" not in str(error.value) and not (tmp_path / "out").exists()
    with pytest.raises(UserError, match=message):
        train.parse([f"--agent={agent}", f"--task={CUBE}"])
    assert train.parse([f"--agent={agent}", f"--task={CUBE}", f"--set={name}=0"]).origins[name] == "set"
    assert runs_of(tmp_path, "--suite=quickstart", f"--agents=bc,{agent}", f"--set={agent}:{name}=0.1")


def test_no_suite_runs_an_algorithm_switched_off(tmp_path):
    for suite in SUITES:
        for run in runs_of(tmp_path, f"--suite={suite}"):
            config = configure(agent_class(run.agent), run.settings)
            for field in dataclasses.fields(config):
                if field.metadata["off"]:
                    assert getattr(config, field.name) > 0, (suite, run.agent, field.name)


# ------------------------------------------------------------------------------------------- signs in the tables


def recorded(folder, agent, origin, task=TASKS[0], **values):
    write_run(folder, agent, task, start={"hyperparameters": {"alpha": origin, "batch_size": "default"}}, **values)


@pytest.mark.parametrize(
    "origin, sign, words",
    [
        ("published: a paper", "", ""),
        ("ours: tried", "†", "are ours, not published: rql"),
        ("suite", "†", "are ours, not published: rql"),
        ("set", "†", "are ours, not published: rql"),
        ("derived: from a paper", "‡", "are derived from published ones"),
        ("default", "§", "are the defaults, not tuned"),
    ],
)
def test_tables_mark_agents_whose_hyperparameters_are_not_published(origin, sign, words, tmp_path):
    recorded(tmp_path, "rql", origin)
    recorded(tmp_path, "fql", "published: a paper")
    write_run(tmp_path, "bam", TASKS[0])  # from before this was recorded
    found = comparable(load_runs(tmp_path))
    assert any(note.startswith(sign) and words in note for note in found.notes) or not sign
    for table in (domain_table(found), task_table(found)):
        text = to_html(table)
        assert f">RQL*{sign}<" in text and ">RQL<" in text and ">FQL*<" in text and ">BAM*<" in text
    for table in (summary(found), reproduction_table(found)):
        assert f"| RQL{sign} |" in to_markdown(table) and "| FQL |" in to_markdown(table)
    assert "?" not in to_latex(summary(found))


def test_an_agent_of_several_origins_has_several_signs(tmp_path):
    recorded(tmp_path, "rql", "published: a paper")
    recorded(tmp_path, "rql", "derived: from a paper", TASKS[1])
    recorded(tmp_path, "rql", "set", TASKS[2])
    assert "RQL†‡" in to_markdown(summary(comparable(load_runs(tmp_path))))


# ------------------------------------------------------------------- parts that are there where a number is above 0

PARTS = [("qam_f", "cube-double-play", "distill", "fql_alpha"), ("qam_e", "scene-play", "edit", "edit_scale")]
"""Agent, a domain where it is plain QAM as published, the switch of its part, and the number that says so."""
WITH_PARTS = get_task("cube-triple-play-singletask-task1-v0")


@pytest.mark.parametrize("agent, plain, switch, number", PARTS)
def test_a_part_is_there_exactly_where_its_number_is_above_0(agent, plain, switch, number):
    cls, without = agent_class(agent), get_task(f"{plain}-singletask-task1-v0")
    assert choose(cls, without, {})[0][switch] is False and switch not in choose(cls, WITH_PARTS, {})[0], "as published"
    for task in (without, WITH_PARTS):
        for value in ("0", "0.25"):
            chosen, origins = choose(cls, task, {number: value})
            there = getattr(configure(cls, chosen), switch)
            assert there == getattr(configure(cls, settings_for(cls, task, {number: value})), switch) == (value != "0")
            published = (task == without) == (value == "0")
            assert (origins[switch] == "set") == (not published), (task.name, value)


@pytest.mark.parametrize("agent, plain, switch, number", PARTS)
def test_a_switch_that_contradicts_its_number_is_refused(agent, plain, switch, number):
    cls, without = agent_class(agent), get_task(f"{plain}-singletask-task1-v0")
    message = f"{agent}: {switch}=(true|false) and {number}=[0-9.]+ contradict each other"
    refused = [(without, {switch: "true"})]
    refused += [(WITH_PARTS, {switch: on, number: value}) for on, value in (("true", "0"), ("false", "0.25"))]
    for task, settings in refused:
        for given in (choose, settings_for):
            with pytest.raises(UserError, match=message):
                given(cls, task, settings)
        with pytest.raises(UserError, match=message):
            train.parse([f"--agent={agent}", f"--task={task.name}", *(f"--set={k}={v}" for k, v in settings.items())])
    assert choose(cls, without, {switch: "true", number: "0.25"})[0][switch] is True
    assert choose(cls, WITH_PARTS, {switch: "false"})[0][switch] is False, (
        "the caller's own switch, and no other number"
    )


# ---------------------------------------------------------------------------------------------- how long it trains


def test_the_papers_protocol_trains_the_three_agents_twice_as_long(tmp_path):
    runs = runs_of(tmp_path, "--suite=ogbench", "--domains=scene-play", "--protocol=rql_paper")
    assert {run.agent: run.protocol.steps for run in runs} == {
        agent: 2_000_000 if agent in ("rql", "tfql", "bdpo") else 1_000_000 for agent in PAPER_AGENTS
    }
    assert {run.protocol.eval_every for run in runs} == {100_000}
    bdpo = next(run for run in runs if run.agent == "bdpo")
    assert configure(agent_class("bdpo"), bdpo.settings).pretraining_steps == 1_000_000
    commanded = runs_of(tmp_path, "--suite=ogbench", "--domains=scene-play")
    assert {run.protocol.steps for run in commanded} == {1_000_000}
    short = runs_of(tmp_path, "--suite=ogbench", "--domains=scene-play", "--protocol=rql_paper", "--steps=7")
    assert {run.protocol.steps for run in short} == {7}
    spec = train.parse(["--agent=rql", f"--task={SCENE}", "--protocol=rql_paper"])
    assert spec.protocol == get_protocol("rql_paper", "rql") and spec.protocol.steps == 2_000_000


def test_the_suite_is_called_the_authors_commands_and_protocols_show_their_lengths(capsys):
    text = text_of(capsys, "--list")
    assert "the authors' commands" in text and "tfql: 2,000,000" in text


def reproduced(tmp_path, steps, agent, task=TASKS[0]):
    folder = tmp_path / f"{agent}-{steps}"
    write_run(folder, agent, task, success=0.5, steps=steps, eval_every=steps)
    table = reproduction_table(comparable(load_runs(folder)))
    return table.rows[0][-1], " ".join(table.notes)


@pytest.mark.parametrize(
    "agent, steps, verdict, note",
    [
        ("rql", 2_000_000, "below", ""),
        ("rql", 1_000_000, "another regime (1M of 2M updates)", "authors' commands"),
        ("rql", 7_000, "another regime (7,000 of 2M updates)", "no reproductions yet"),
        ("fql", 1_000_000, "below", ""),
        ("fql", 500_000, "another regime (0.5M of 1M updates)", "no reproductions yet"),
        ("fql", 2_000_000, "another regime (2M of 1M updates)", ""),
    ],
)
def test_a_verdict_depends_on_the_published_figures_own_length(agent, steps, verdict, note, tmp_path):
    said, notes = reproduced(tmp_path, steps, agent)
    assert said == verdict and note in notes
    for words in {"authors' commands", "no reproductions yet"} - {note}:
        assert words not in notes


@pytest.mark.parametrize("agent", ["tfql", "bdpo"])
def test_domains_of_tfql_and_bdpo_are_of_2m_updates_too(agent, tmp_path):
    for task in TASKS[:5]:
        write_run(tmp_path, agent, task, steps=1_000_000, eval_every=1_000_000)
    table = reproduction_table(comparable(load_runs(tmp_path)))
    assert table.rows[0][1] == DOMAINS[0] and table.rows[0][-1].endswith("(1M of 2M updates)")


# ------------------------------------------------------------------------------------------- under which name


def test_settings_named_for_one_agent_are_its_alone_and_win(tmp_path):
    runs = runs_of(tmp_path, "--suite=quickstart", "--set=rql:batch_size=8", "--set=batch_size=16")
    sizes = {run.agent: configure(agent_class(run.agent), run.settings).batch_size for run in runs}
    assert sizes == {"rql": 8, "fql": 16, "bc": 16}
    spec = train.parse(["--agent=rql", f"--task={SCENE}", "--set=rql:alpha=7"])
    assert spec.settings["alpha"] == 7


@pytest.mark.parametrize(
    "setting, message",
    [
        ("rlq:alpha=3", "rlq:alpha=3.*did you mean 'rql'"),
        ("ifql:expectile=0.9", "unknown agent in --set ifql"),
        (":alpha=3", "unknown agent in --set :alpha"),
        ("rql:alfa=3", "'rql' has no hyperparameter 'alfa' .did you mean 'alpha'"),
        ("rql:=3", "'rql' has no hyperparameter ''"),
    ],
)
def test_settings_for_agents_that_do_not_run_are_refused(setting, message, tmp_path):
    with pytest.raises(UserError, match=message):
        run_all.main(["--suite=quickstart", f"--set={setting}", f"--out={tmp_path / 'out'}"])
    assert not (tmp_path / "out").exists()


def test_a_label_is_the_name_of_results_everywhere(capsys, tmp_path):
    asked = ["--suite=toy", "--agents=rql", "--tasks=toy-modes", "--protocol=empty", f"--out={tmp_path}"]
    text_of(capsys, *asked, "--launcher=debug")
    text_of(capsys, *asked, "--launcher=debug", "--label=rql_wide", "--set=hidden=8")
    path = next(tmp_path.glob("rql_wide/toy-modes/*/config.json"))
    config = json.loads(path.read_text())
    assert (config["agent"], config["label"], config["hyperparameters"]["hidden"]) == ("rql", "rql_wide", [8])
    loaded = load_runs(tmp_path).runs
    assert sorted(zip(loaded["agent"], loaded["label"], strict=True)) == [("rql", ""), ("rql", "rql_wide")]
    assert "│ rql_wide │" in text_of(capsys, *asked, "--label=rql_wide", "--set=hidden=8", "--dry-run")
    assert "1 of 1 runs are finished already" in text_of(
        capsys, *asked, "--launcher=debug", "--label=rql_wide", "--set=hidden=8"
    )


def test_a_single_run_takes_a_label_too(tmp_path):
    spec = train.parse(["--agent=rql", f"--task={SCENE}", "--label=rql_wide", f"--out={tmp_path}"])
    assert RunSpec.from_json(spec.to_json()) == spec and spec.label == "rql_wide"
    assert spec.path == tmp_path / "rql_wide" / SCENE / "seeds-0"


@pytest.mark.parametrize(
    "label, message",
    [
        ("", "--label is empty"),
        ("..", "letters, digits"),
        ("a/b", "letters, digits"),
        ("a b", "letters, digits"),
        ("wide\n", "--label has a line break"),
        ("-wide", "letters, digits"),
        ("x" * 101, "at most 100"),
        ("fql", "another agent's name"),
    ],
)
def test_a_label_that_cannot_name_a_folder_or_names_another_agent_is_refused(label, message, tmp_path):
    with pytest.raises(UserError, match=message) as error:
        run_all.main(["--suite=quickstart", "--agents=rql", f"--label={label}", f"--out={tmp_path / 'out'}"])
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()
    with pytest.raises(UserError, match=message):
        train.parse(["--agent=rql", f"--task={SCENE}", f"--label={label}"])


def test_a_label_is_for_one_agent(tmp_path):
    with pytest.raises(UserError, match="one agent; 3 are chosen: bc, fql, rql"):
        runs_of(tmp_path, "--suite=quickstart", "--label=wide")
    suite = SUITES["quickstart"]
    runs = plan(suite, agents=["rql"], tasks=suite.tasks, seeds=(0,), protocol=get_protocol("rql"), out="", label="rql")
    assert runs[0].label == "rql", "its own name is no other's"


# -------------------------------------------------------------------------------------------------- what is shown


def test_list_names_only_tasks_that_exist(capsys):
    run_all.main(["--list"])
    listed = capsys.readouterr().out.partition("tasks of suite")[2].splitlines()
    names = [line.strip() for line in listed if line.startswith("  ")]
    assert {"toy-modes", "antmaze-umaze-v2", "pen-human-v1", "cube-single-play-singletask-task1-v0"} <= set(names)
    for name in names:
        first, brace, rest = name.partition("{")
        for number in rest.partition("}")[0].split(",") if brace else [""]:
            get_task(f"{first}{number}{rest.partition('}')[2]}")


def test_a_report_averages_the_last_evaluations_that_are_asked_for(capsys, tmp_path):
    success = {(seed, step): step / 1000 for seed in (0, 1) for step in (250, 500, 750, 1000)}
    write_run(tmp_path, "rql", CUBE, success=success, steps=1000, eval_every=250)
    text = text_of(capsys, "--suite=quickstart", "--report", "--last=3", f"--out={tmp_path}")
    assert "75.0 [75.0, 75.0]" in text and "mean of the last 3 evaluations" in text
    assert "75.0 [75.0, 75.0]" in (tmp_path / "report" / "summary.md").read_text()


@pytest.mark.parametrize("last, message", [("0", "at least 1"), ("x", "whole number"), ("6", "at most 5")])
def test_a_number_of_evaluations_that_cannot_be_is_refused_before_any_work(last, message, tmp_path):
    with pytest.raises(UserError, match=f"--last must be .*{message}"):
        run_all.main(["--suite=quickstart", f"--last={last}", f"--out={tmp_path / 'out'}"])
    assert not (tmp_path / "out").exists()
