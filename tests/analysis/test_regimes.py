"""A number's regime is read from its record, and numbers of two regimes are not compared unasked."""

from __future__ import annotations

import json

import pytest
import yaml

from analysis import published, regimes
from analysis.averaging.selection import comparable
from analysis.compare import main
from analysis.names import DOMAINS, TASKS
from analysis.reading.loading import load_runs
from analysis.regimes import Facts, data_of, facts_by_agent, facts_of, name_of, reason
from analysis.tabulating.formats import to_latex
from analysis.tabulating.with_published import domain_table, task_table
from benchmark.common.errors import UserError
from tests.helpers.simulated_runs import write_run

CUBE, MAZE, QUADRUPLE = TASKS[35], TASKS[0], TASKS[45]
WIDE = [512, 512, 512, 512]


def run(folder, agent="rql", task=CUBE, steps=1_000_000, chunk=5, hidden=WIDE, ogbench="1.2.2", **dataset):
    sizes = {"hidden": hidden, "chunk_length": chunk, "alpha": 1.0}
    known = {"name": "data", "fingerprint": "sha256:1", "transitions": 1_000_000, "source": "file"}
    values = {(seed, at): 0.1 * seed for seed in range(4) for at in (steps // 2, steps)}
    return write_run(
        folder,
        agent,
        task,
        range(4),
        values,
        steps=steps,
        eval_every=steps // 2,
        hyperparameters=sizes,
        start={"dataset": known | dataset, "versions": {"mujoco": "3.4.0", "ogbench": ogbench}},
    )


def run_online(folder, agent="rql", online=500_000, **how):
    """A run of 1M updates with an online phase after them."""
    path = run(folder, agent, steps=1_000_000 + online, **how)
    _change(path, lambda config: config["protocol"].update(steps=1_000_000, online_steps=online))
    return path


def run_begun(folder, agent="rql", digest="sha256:abcdef0123456789", **how):
    """A run that began with the networks of another one."""
    path = run(folder, agent, **how)
    _change(path, lambda config: config.update(start={"digest": digest}))
    return path


def _change(path, change):
    config = json.loads((path / "config.json").read_text())
    change(config)
    (path / "config.json").write_text(json.dumps(config))


def facts(folder):
    return {row.task: facts_of(row) for row in load_runs(folder).runs.itertuples()}


def test_the_facts_are_those_of_the_record(tmp_path):
    run(tmp_path)
    assert facts(tmp_path)[CUBE] == Facts(
        "standard", 1_000_000, "512x512x512x512", 5, "final", 50, "ogbench 1.2.2", "3.4.0"
    )


@pytest.mark.parametrize(
    ("source", "transitions", "data"),
    [
        ("file", 5_000_000, "standard"),
        ("file", 10_000_000, "10M"),
        ("file", 100_000_000, "100M"),
        ("generated", 100_000_000, "generated"),
        ("file", None, ""),
    ],
)
def test_data_are_told_by_their_transitions_and_whether_they_were_made_here(source, transitions, data):
    assert data_of(source, transitions) == data


def test_a_run_of_a_papers_protocol_is_of_its_regime(tmp_path):
    run(tmp_path)
    run(tmp_path, task=MAZE, chunk=1)
    run(tmp_path, task=QUADRUPLE, transitions=100_000_000)
    assert name_of(facts(tmp_path)) == "qam"


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"steps": 2_000_000}, "rql"),
        ({"chunk": 1}, "fql-1m"),
        ({"steps": 4_000, "source": "generated"}, "4,000 updates, generated data"),
        ({"hidden": [64, 64]}, "networks 64x64"),
        ({"transitions": 10_000_000}, "10M data"),
    ],
)
def test_a_run_of_other_length_chunks_networks_or_data_is_not(tmp_path, change, name):
    run(tmp_path, **change)
    assert name in name_of(facts(tmp_path)) and name_of(facts(tmp_path)) != "qam"


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (run_online, "1,000,000 updates, 500,000 online steps, standard data, networks 512x512x512x512, chunks of 5"),
        (run_begun, "1,000,000 updates, begun with networks abcdef01, standard data"),
    ],
)
def test_a_run_with_an_online_phase_or_begun_with_anothers_networks_is_of_no_papers_regime(tmp_path, make, name):
    make(tmp_path)
    assert name_of(facts(tmp_path)).startswith(name)


def test_a_run_that_is_online_alone_has_no_updates_before(tmp_path):
    path = run(tmp_path, steps=500_000)
    _change(path, lambda config: config["protocol"].update(steps=0, online_steps=500_000))
    assert (facts(tmp_path)[CUBE].updates, facts(tmp_path)[CUBE].online_steps) == (0, 500_000)


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (Facts(online_steps=500_000), "online steps 500,000 against none"),
        (Facts(start="sha256:" + 64 * "a"), f"start {40 * 'a'} against none"),
    ],
)
def test_no_online_phase_and_no_other_runs_networks_are_statements(facts, said):
    assert reason({CUBE: facts}, {CUBE: Facts()}, [CUBE]) == said
    assert reason({CUBE: facts}, {CUBE: facts}, [CUBE]) == ""
    assert reason({CUBE: facts}, {}, [CUBE]) == ""


def test_tasks_may_begin_with_networks_of_their_own_but_not_some_with_none():
    begun = Facts("standard", 1_000_000, start="sha256:aaaaaaaaaa")
    other = Facts("standard", 1_000_000, start="sha256:bbbbbbbbbb")
    assert (
        name_of({CUBE: begun, MAZE: other})
        == "1,000,000 updates, begun with networks aaaaaaaa or bbbbbbbb, standard data"
    )
    some = name_of({CUBE: begun, MAZE: Facts("standard", 1_000_000)})
    assert some.startswith("several regimes: 1,000,000 updates, begun with networks aaaaaaaa or none, standard data")
    online = name_of({CUBE: Facts(online_steps=500, updates=9), MAZE: Facts(updates=9)})
    assert online == "several regimes: 9 updates, 500 online steps or none"


def test_runs_of_one_task_that_are_pooled_keep_all_their_facts(tmp_path):
    run(tmp_path / "short")
    run(tmp_path / "long", steps=2_000_000)
    loaded = load_runs(tmp_path)
    (of_cube,) = facts_by_agent(loaded.runs, loaded.evaluations)["rql"].values()
    assert name_of({CUBE: of_cube}).startswith("several regimes: 2,000,000 or 1,000,000 updates")
    assert reason({CUBE: of_cube}, {CUBE: Facts(updates=10**6)}, [CUBE]) == (
        "updates 2,000,000 or 1,000,000 against 1,000,000"
    )
    assert reason({CUBE: of_cube}, {CUBE: Facts("standard", mujoco="3.4.0")}, [CUBE]) == ""
    both = comparable(loaded, mixed="pool")
    assert both.regimes["rql"].startswith("several regimes")


def test_runs_of_one_task_with_one_regime_in_two_versions_are_of_it(tmp_path):
    run(tmp_path / "old", ogbench="1.1.5")
    run(tmp_path / "new")
    loaded = load_runs(tmp_path)
    (of_cube,) = facts_by_agent(loaded.runs, loaded.evaluations)["rql"].values()
    assert name_of({CUBE: of_cube}) == "qam"
    assert reason({CUBE: of_cube}, {CUBE: Facts(environment="ogbench 1.2.2")}, [CUBE]) == (
        "environment ogbench 1.2.2 or ogbench 1.1.5 against ogbench 1.2.2"
    )


def test_what_is_not_recorded_is_of_no_named_regime():
    assert name_of({CUBE: Facts()}) == "not recorded"
    assert name_of({}) == "not recorded"


def test_only_what_both_say_tells_regimes_apart():
    assert reason({CUBE: Facts(updates=1, mujoco="3.4.0")}, {CUBE: Facts(updates=1)}, [CUBE]) == ""
    assert (
        reason({CUBE: Facts(updates=7000)}, {CUBE: Facts(updates=10**6)}, [CUBE]) == "updates 7,000 against 1,000,000"
    )


def test_every_named_regime_has_a_source_and_known_domains():
    for name, regime in regimes.named().items():
        assert regime.source and set(regime.domains) <= set(DOMAINS), name
        for domain in regime.domains:
            assert regime.facts(domain).data and regime.facts(domain).updates


def test_a_misspelt_fact_in_the_file_is_named(tmp_path, monkeypatch):
    (tmp_path / "regimes.yaml").write_text(yaml.safe_dump({"x": {"source": "s", "update": 1}}))
    monkeypatch.setattr(published, "FOLDER", tmp_path)
    regimes.named.cache_clear()
    with pytest.raises(UserError, match="did you mean 'updates'"):
        regimes.named()
    regimes.named.cache_clear()


def test_every_published_figure_has_a_regime_that_is_named():
    known = regimes.named()
    for table in (published.by_domain(), published.by_task(), published.newer()):
        assert set(table["regime"]) <= set(known)
    for row in published.by_domain().itertuples():
        assert known[row.regime].facts(row.domain).updates == published.updates(row.agent)
        assert row.regime == published.regime(row.agent)


def test_every_newer_figure_has_its_source():
    table = published.newer()
    assert table["source"].str.len().gt(10).all() and not table.duplicated(["agent", "domain", "regime"]).any()
    assert set(table["domain"]) <= {*DOMAINS, "all"} and table["success"].between(0, 1).all()


def test_agents_of_two_regimes_are_compared_only_when_asked_and_marked(tmp_path, capsys):
    run(tmp_path, "rql")
    run(tmp_path, "fql", steps=2_000_000)
    run(tmp_path, "ifql")
    arguments = ["--runs", str(tmp_path), "--baseline", "rql", "--by", "overall"]
    main(arguments)
    said = capsys.readouterr().out
    assert "| FQL |" not in said and "| IFQL |" in said and "¶" not in said
    assert "FQL is not compared, for it is of another regime than the baseline: updates 2,000,000 against" in said
    main([*arguments, "--across-regimes"])
    said = capsys.readouterr().out
    row = next(line for line in said.splitlines() if line.startswith("| FQL |"))
    assert row.count("¶") == 2 and "of another regime" in row
    assert "updates 2,000,000 against 1,000,000" in said


def test_data_of_another_fingerprint_are_other_data_whatever_their_size(tmp_path, capsys):
    run(tmp_path, "rql")
    run(tmp_path, "ifql")
    run(tmp_path, "fql", fingerprint="sha256:2")
    main(["--runs", str(tmp_path), "--baseline", "rql", "--by", "overall"])
    said = capsys.readouterr().out
    assert "| IFQL |" in said and "FQL is not compared" in said and "fingerprint 2 against 1" in said
    assert {name_of({CUBE: facts_of(row)}) for row in load_runs(tmp_path).runs.itertuples()} == {"qam"}


def test_where_all_are_of_other_regimes_the_error_says_so(tmp_path):
    run(tmp_path, "rql")
    run(tmp_path, "fql", steps=2_000_000)
    with pytest.raises(UserError, match="--across-regimes"):
        main(["--runs", str(tmp_path), "--baseline", "rql"])


# ---- tables


def test_a_table_is_bold_within_regimes_and_says_why():
    table = domain_table()
    column = table.header.index("antmaze-large-navigate")
    # 94 and 90 of the regime qam; 83 and 83 of rql's.
    assert {row[0] for row in table.rows if row[column].bold} == {"rebrac", "qsm", "rql", "bdpo"}
    note = next(note for note in table.notes if "regimes" in note)
    assert "rql: RQL, TFQL, BDPO" in note and "so each is averaged and bold among its own only" in note
    assert table.caption.endswith("of the best of a column and regime.")


def test_across_regimes_bold_figures_are_marked():
    table = domain_table(across=True)
    column = table.header.index("antmaze-large-navigate")
    assert {row[0]: row[column].text for row in table.rows if row[column].bold} == {"rebrac": "94¶", "qsm": "90¶"}
    assert all("¶" not in row[column].text for row in table.rows if not row[column].bold)
    assert any("not a ranking" in note for note in table.notes)
    assert r"94\P{}" in to_latex(table)


def test_runs_of_the_regime_of_published_figures_are_bold_among_them(tmp_path):
    run(tmp_path, "rql")
    results = comparable(load_runs(tmp_path))
    table = task_table(results)
    row = next(row for row in table.rows if row[0] == CUBE)
    assert list(results.scores["regime"].unique()) == ["qam"]
    assert not row[table.header.index("rql*")].bold and any(cell.bold for cell in row[1:])


@pytest.mark.parametrize("make", [run_online, run_begun])
def test_an_online_phase_or_another_runs_networks_leave_an_agent_out_of_comparisons(tmp_path, capsys, make):
    make(tmp_path, "fql")
    for agent in ("rql", "ifql"):
        run(tmp_path, agent)
    main(["--runs", str(tmp_path), "--baseline", "rql", "--by", "overall"])
    said = capsys.readouterr().out
    assert "| FQL |" not in said and "| IFQL |" in said
    assert "FQL is not compared, for it is of another regime than the baseline:" in said


@pytest.mark.parametrize("make", [run_online, run_begun])
def test_an_online_phase_or_another_runs_networks_make_nothing_bold(tmp_path, make):
    make(tmp_path, "rql")
    table = task_table(comparable(load_runs(tmp_path)))
    assert not any(row[table.header.index("rql*")].bold for row in table.rows)


def test_an_agent_alone_in_its_regime_is_the_best_of_nothing(tmp_path):
    run(tmp_path, "rql", steps=3_000_000)
    table = task_table(comparable(load_runs(tmp_path)))
    assert not any(row[table.header.index("rql*")].bold for row in table.rows)


def test_an_average_over_tasks_of_several_regimes_is_refused_unless_asked_for(tmp_path):
    run(tmp_path, "rql", task=TASKS[35])
    run(tmp_path, "rql", task=TASKS[36], steps=3_000_000)
    results = comparable(load_runs(tmp_path))
    assert results.scores["regime"].iloc[0].startswith("several regimes: 1,000,000 or 3,000,000 updates")
    refused = domain_table(results, published=False)
    assert refused.rows[0][-1].text == "–" and "several regimes" in refused.notes[0]
    (row,) = domain_table(results, published=False, across=True).rows
    assert row[-1].text.endswith("¶")
