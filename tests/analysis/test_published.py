"""The published figures: complete, consistent with one another but for what their README names."""

from __future__ import annotations

import numpy as np
import pytest

from agents.roster import PAPER_AGENTS
from analysis.names import DOMAINS, TASKS
from analysis.published import FOLDER, by_domain, by_task

WITHOUT_FIGURE = {"diffusion_ql"}


def test_domain_table_has_19_agents_and_10_domains_in_the_projects_names() -> None:
    table = by_domain()
    assert len(table) == 190 and not table.duplicated(["agent", "domain"]).any()
    assert set(table["agent"]) == set(PAPER_AGENTS) - WITHOUT_FIGURE
    assert list(dict.fromkeys(table["domain"])) == list(DOMAINS)
    assert table["success"].between(0, 1).all()


def test_task_table_has_17_agents_and_50_tasks() -> None:
    table = by_task()
    assert len(table) == 17 * 50 and not table.duplicated(["agent", "task"]).any()
    assert set(table["task"]) == set(TASKS) and set(table["domain"]) == set(DOMAINS)
    archive = table[table["source"] == "QAM archive"]
    assert (archive["low"] <= archive["success"]).all() and (archive["success"] <= archive["high"]).all()
    assert table[table["agent"] == "rql"]["low"].isna().all()


def test_averages_over_the_table_are_the_published_ones() -> None:
    means = 100 * by_domain().groupby("agent")["success"].mean()
    expected = dict(rql=56, qam_e=46, qam_f=45, qam=44, rebrac=40, qsm=40, dsrl=38, cgql_l=37, dac=37, fql=36)
    expected |= dict(bam=35, cgql_m=35, ifql=34, bdpo=33, fedit=33, cgql=30, tfql=30, fbrac=11, fawac=8)
    assert {name: pytest.approx(value, abs=0.51) for name, value in expected.items()} == means.to_dict()


def test_task_figures_give_the_domain_figures_for_all_but_qsm() -> None:
    means = 100 * by_task().groupby(["agent", "domain"])["success"].mean().unstack()
    table = 100 * by_domain().pivot(index="agent", columns="domain", values="success")
    apart = (means - table.loc[means.index]).abs().max(axis=1)
    assert apart.drop("qsm").max() <= 0.5 + 0.01  # Whole percent, and four decimals in the archive's means.
    assert apart["qsm"] > 20


def test_readme_shows_qsms_two_rows_as_the_files_have_them() -> None:
    text = (FOLDER / "README.md").read_text()
    table = 100 * by_domain().query("agent == 'qsm'").set_index("domain")["success"][list(DOMAINS)]
    archive = 100 * by_task().query("agent == 'qsm'").groupby("domain")["success"].mean()[list(DOMAINS)]
    for name, row in (("table", table), ("archive", archive)):
        assert f"| {name} | " + " | ".join(str(int(np.round(v))) for v in row) + " |" in text
