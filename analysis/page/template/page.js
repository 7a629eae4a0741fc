// The report: what it shows of the data, in tables by `Table`.

const COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#7F7F7F"];
const SVG = "http://www.w3.org/2000/svg";
const s = (tag, attributes = {}, ...children) => add(document.createElementNS(SVG, tag), attributes, children);
const fixed = (digits) => (value) => (known(value) ? value.toFixed(digits) : "–");
const short = (value) => (known(value) ? Number(value.toPrecision(4)).toString() : "–");
const hours = (seconds) => (known(seconds) ? (seconds / 3600).toFixed(2) : "–");

const runs = data.runs.map((values, index) => {
  const run = Object.fromEntries(data.fields.map((field, i) => [field, values[i]]));
  for (const [field, pool] of Object.entries(data.pools)) run[field] = pool[run[field]];
  run.index = index;
  return run;
});
const byPath = new Map(runs.map((run) => [run.run, run]));

const link = (run) => h("a", { href: `#run=${encodeURIComponent(run.run)}` }, run.agent || run.run);
const stateMark = (run) => (run.state === "done" && !run.diverged.length ? "" : "bad");
const stateText = (run) => (run.state === "done" && run.diverged.length ? "diverged" : run.state);

function groupsTable(place) {
  const columns = [
    { name: "agent", text: (row) => row.agent, cell: (row) => row.source === "own" ? row.agent : h("span", { class: "theirs" }, row.agent) },
    { name: "source", text: (row) => row.source, choose: true, minor: true },
    { name: "hyperparameters", text: (row) => row.settings, minor: true, wide: true },
    ...data.groups.columns.map(({ name, tasks }, index) => ({
      name,
      title: tasks,
      number: true,
      text: (row) => percent(row.cells[index] && row.cells[index].mean),
      value: (row) => row.cells[index] && row.cells[index].mean,
      cell: (row) => withInterval(row.cells[index]),
      mark: (row) => (row.cells[index] && row.cells[index].best ? "best" : ""),
    })),
  ];
  new Table(place, "agents", data.groups.rows, columns);
}

function tasksTable(place) {
  const number = (name, field, minor) => ({ name, number: true, minor, text: (row) => percent(row[field]), value: (row) => row[field] });
  new Table(place, "results by task", data.tasks, [
    { name: "agent", text: (row) => row.agent, choose: true },
    { name: "task", text: (row) => row.task, choose: true, wide: true },
    { ...number("success, %", "mean"), mark: (row) => (row.best ? "best" : "") },
    number("low", "low", true),
    number("high", "high", true),
    { name: "seeds", number: true, minor: true, text: (row) => String(row.seeds), value: (row) => row.seeds },
    number("published", "published"),
    number("difference", "difference"),
    { name: "why no difference", text: (row) => row.apart, minor: true, wide: true },
  ]);
}

// What only this run's algorithm has; its page has all.
function ownSettings(run) {
  const own = Object.entries(run.hyperparameters).filter(([name]) => !data.shared.includes(name));
  return own.map(([name, value]) => `${name}=${Array.isArray(value) ? value.join("x") : value}`).join(", ");
}

function runsTable(place) {
  new Table(place, "runs", runs, [
    { name: "agent", text: (run) => run.agent, choose: true, cell: link },
    { name: "task", text: (run) => run.task, choose: true, wide: true },
    { name: "seeds", text: (run) => run.seeds, value: (run) => run.firstSeed },
    { name: "state", text: stateText, choose: true, mark: stateMark },
    { name: "success, %", number: true, text: (run) => percent(run.success), value: (run) => run.success },
    { name: "hyperparameters", text: ownSettings, minor: true, wide: true },
    { name: "steps", number: true, minor: true, text: (run) => count(run.step), value: (run) => run.step },
    { name: "updates/s", number: true, minor: true, text: (run) => fixed(1)(run.rate), value: (run) => run.rate },
    { name: "hours", number: true, minor: true, text: (run) => hours(run.seconds), value: (run) => run.seconds },
    { name: "commit", minor: true, text: (run) => commit(run.made), choose: true },
    { name: "suite", minor: true, text: (run) => run.suite, choose: true },
  ]);
}

// A run of two commits has both, joined by "+".
function commit(made) {
  if (!made.commit) return "";
  return made.commit.split("+").map((part) => part.slice(0, 8)).join("+") + (made.clean ? "" : ", changed");
}

function failuresTable(place) {
  const rows = [];
  for (const run of runs) {
    if (run.state === "unreadable" || run.state === "failed") rows.push({ run, kind: run.state, text: run.error || "no reason recorded" });
    else if (run.state !== "done") rows.push({ run, kind: run.state, text: `at step ${count(run.step)} of ${count(run.steps)}, last heard of ${run.updated || "never"}` });
    for (const [seed, step] of run.diverged) rows.push({ run, kind: "diverged", text: `seed ${seed} at step ${count(step)}` });
  }
  if (!rows.length) {
    place.replaceChildren(h("p", {}, "None."));
    return;
  }
  new Table(place, "failures", rows, [
    { name: "run", text: (row) => `${row.run.agent} ${row.run.task} ${row.run.seeds}`.trim() || row.run.run, cell: (row) => link(row.run) },
    { name: "task", text: (row) => row.run.task, minor: true, choose: true, wide: true },
    { name: "seeds", text: (row) => row.run.seeds, value: (row) => row.run.firstSeed },
    { name: "what", text: (row) => row.kind, choose: true, mark: () => "bad" },
    { name: "reason", text: (row) => row.text, wide: true },
  ]);
}

function ticks(low, high, most) {
  const span = high - low || Math.abs(high) || 1;
  const power = 10 ** Math.floor(Math.log10(span / most));
  const step = [1, 2, 5, 10].map((k) => k * power).find((size) => span / size <= most);
  const made = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * span; k += 1) made.push(k * step);
  return made;
}

function steps(value) {
  if (value >= 1e6) return `${short(value / 1e6)}M`;
  return value >= 1e3 ? `${short(value / 1e3)}k` : String(value);
}

// series: [{name, steps, values}]; a missing value breaks the line. From two series on, their mean is drawn too.
function chart(title, series, zero) {
  const [W, H, L, R, T, B] = [340, 200, 46, 8, 22, 24];
  const values = series.flatMap((one) => one.values).filter(known);
  const points = series.flatMap((one) => one.steps);
  if (!values.length) return null;
  // Not Math.max(...values): a long curve would exceed the number of arguments that a call may have.
  const least = (list) => list.reduce((a, b) => Math.min(a, b));
  const most = (list) => list.reduce((a, b) => Math.max(a, b));
  let [low, high] = [zero ? 0 : least(values), most(values)];
  if (low === high) [low, high] = [low - (zero ? 0 : 0.5), high + (zero ? 0.1 : 0.5)];
  const [start, end] = [least(points), most(points)];
  const x = (step) => L + (end === start ? 0.5 : (step - start) / (end - start)) * (W - L - R);
  const y = (value) => H - B - ((value - low) / (high - low)) * (H - T - B);
  const svg = s("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": `${title} against gradient steps` });
  svg.append(s("text", { x: L, y: 13 }, title));
  for (const tick of ticks(low, high, 5)) {
    svg.append(s("line", { class: "grid", x1: L, x2: W - R, y1: y(tick), y2: y(tick) }));
    svg.append(s("text", { x: L - 5, y: y(tick) + 4, "text-anchor": "end" }, short(tick)));
  }
  for (const tick of ticks(start, end, 4)) svg.append(s("text", { x: x(tick), y: H - 8, "text-anchor": "middle" }, steps(tick)));
  const line = (one, attributes) => {
    let piece = [];
    const flush = () => {
      // Many markers would hide their line.
      for (const [cx, cy] of piece.length <= 30 ? piece : []) svg.append(s("circle", { cx, cy, r: 2, fill: attributes.stroke || "#1f2328" }));
      if (piece.length > 1) svg.append(s("polyline", { ...attributes, points: piece.map((p) => p.map((c) => c.toFixed(1)).join(",")).join(" ") }, s("title", {}, one.name)));
      piece = [];
    };
    one.values.forEach((value, i) => (known(value) ? piece.push([x(one.steps[i]), y(value)]) : flush()));
    flush();
  };
  series.forEach((one, index) => line(one, look(index)));
  if (series.length > 1) line(mean(series), { class: "mean" });
  return h("figure", { class: "chart" }, svg);
}

const look = (index) => ({ stroke: COLOURS[index % COLOURS.length], "stroke-dasharray": index < COLOURS.length ? null : "4 2" });

// The mean at the steps that all series have.
function mean(series) {
  const tables = series.map((one) => new Map(one.steps.map((step, i) => [step, one.values[i]])));
  const shared = series[0].steps.filter((step) => tables.every((table) => known(table.get(step))));
  const values = shared.map((step) => tables.reduce((sum, table) => sum + table.get(step), 0) / tables.length);
  return { name: "mean", steps: shared, values };
}

function seriesOf(run, measure) {
  const scale = measure === "success" ? 10 : 1; // thousandths, shown in percent
  const place = ["success", "return", "length"].indexOf(measure);
  return run.curves.map(([seed, at, ...measures]) => ({
    name: `seed ${seed}`,
    steps: data.steps[at],
    values: measures[place].map((value) => (known(value) ? value / scale : null)),
  }));
}

function list(title, entries) {
  const rows = entries.filter(([, value]) => known(value)).flatMap(([name, value]) => [
    h("dt", {}, name),
    h("dd", {}, typeof value === "object" ? JSON.stringify(value) : String(value)),
  ]);
  return h("div", {}, h("h3", {}, title), rows.length ? h("dl", {}, ...rows) : h("p", { class: "quiet" }, "None recorded."));
}

function key(series) {
  const sample = (attributes) => s("svg", { width: 22, height: 8, class: "chart", "aria-hidden": "true" }, s("polyline", { points: "0,4 22,4", ...attributes }));
  const items = series.map((one, index) => h("li", {}, sample(look(index)), one.name));
  if (series.length > 1) items.push(h("li", {}, sample({ class: "mean" }), "mean"));
  return h("ul", { class: "key chart" }, ...items);
}

function numbers(run) {
  const details = h("details", {}, h("summary", {}, "Evaluations as numbers"));
  details.addEventListener("toggle", () => {
    if (details.childElementCount > 1) return;
    const [success, returns, length] = ["success", "return", "length"].map((measure) => seriesOf(run, measure));
    const rows = success.flatMap((one, k) => one.steps.map((step, i) => ({
      seed: run.curves[k][0], step, success: one.values[i], return: returns[k].values[i], length: length[k].values[i],
    })));
    const column = (name, write) => ({ name: name === "success" ? "success, %" : name, number: true, text: (row) => write(row[name]), value: (row) => row[name] });
    const place = h("div");
    details.append(place);
    new Table(place, "evaluations", rows, [column("step", count), column("seed", String), column("success", fixed(1)), column("return", short), column("length", short)]);
  });
  return details;
}

function showRun(run) {
  const place = document.getElementById("run");
  const heading = h("h2", { tabindex: "-1" }, `${run.agent || "unreadable run"} ${run.task}`);
  const evaluated = seriesOf(run, "success");
  const training = Object.entries(run.training || {}).map(([metric, series]) => chart(metric, series.map(([seed, at, values]) => ({ name: `seed ${seed}`, steps: at, values })), false));
  const charts = [
    chart("success, %", evaluated, true),
    chart("return", seriesOf(run, "return"), false),
    chart("episode length", seriesOf(run, "length"), false),
  ].filter((one) => one !== null);
  const made = run.made;
  const failed = run.error || run.diverged.length;
  const parts = [
    heading,
    h("p", { class: "quiet" }, h("code", {}, run.run), " · ", h("a", { href: "#runs" }, "back to all runs")),
    failed ? h("p", { class: "note" }, run.error || "", run.diverged.map(([seed, step]) => ` Seed ${seed} diverged at step ${count(step)}.`).join("")) : null,
    charts.length ? h("div", {}, h("h3", {}, "Curves"), key(evaluated), h("div", { class: "charts" }, ...charts), numbers(run)) : h("p", {}, "Not evaluated yet."),
    training.length ? h("details", {}, h("summary", {}, "Training metrics"), h("div", { class: "charts" }, ...training.filter((one) => one !== null))) : null,
    h("div", { class: "details" },
      list("Hyperparameters", Object.entries(run.hyperparameters)),
      list("State", [["state", run.state], ["seeds", run.seeds], ["steps", `${count(run.step)} of ${count(run.steps)}`], ["updates per second", run.rate], ["hours", run.seconds === null ? null : hours(run.seconds)], ["started", run.started], ["updated", run.updated]]),
      list("Protocol", Object.entries(run.protocol)),
      list("Provenance", Object.entries(made).filter(([name]) => name !== "versions")),
      list("Versions", Object.entries(made.versions)),
    ),
    run.command ? h("div", {}, h("h3", {}, "Command"), h("pre", {}, run.command)) : null,
  ];
  place.replaceChildren(...parts.filter((part) => part !== null));
  place.hidden = false;
  heading.focus({ preventScroll: true });
  place.scrollIntoView();
}

function follow() {
  const named = location.hash.startsWith("#run=");
  let run = null;
  try {
    run = named ? byPath.get(decodeURIComponent(location.hash.slice(5))) : null;
  } catch (error) {
    if (!(error instanceof URIError)) throw error; // a mistyped address names no run
  }
  if (run) showRun(run);
  else document.getElementById("run").hidden = true;
}

const makers = { groups: groupsTable, tasks: tasksTable, runs: runsTable, failures: failuresTable };
for (const place of document.querySelectorAll("[data-table]")) makers[place.dataset.table](place);
addEventListener("hashchange", follow);
follow();
