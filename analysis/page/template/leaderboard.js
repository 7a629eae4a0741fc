// The leaderboard: for each regime a table by domain, one by task when it is opened, and a figure's evidence when asked.

const address = (entry, kind, name) => `#evidence=${entry}.${kind}.${encodeURIComponent(name)}`;
const submitted = (row) => row.entry.source.startsWith("submission ");

function figure(row, kind, name) {
  const cell = row.entry[kind][name];
  return cell ? h("a", { class: "figure", href: address(row.index, kind, name) }, withInterval(cell, cell.digits)) : "–";
}

// An agent with its source below it: the same agent may have figures of several.
function named(row) {
  const name = submitted(row) ? row.entry.agent : h("span", { class: "theirs" }, row.entry.agent);
  return h("span", {}, name, h("span", { class: "interval" }, row.entry.source));
}

function rowsOf(regime) {
  return regime.entries.map((index, place) => ({ index, place, entry: data.entries[index] }));
}

function short(name) {
  return name.replace(/-(navigate|play)$/, "");
}

function domainTable(place) {
  const regime = data.regimes[Number(place.dataset.domains)];
  const numbers = regime.columns.map((name) => ({
    name: short(name),
    title: name,
    number: true,
    text: (row) => percent(row.entry.cells[name] && row.entry.cells[name].mean),
    value: (row) => row.entry.cells[name] && row.entry.cells[name].mean,
    cell: (row) => figure(row, "cells", name),
    mark: (row) => (regime.best[name][row.place] ? "best" : ""),
  }));
  const columns = [
    { name: "agent", text: (row) => `${row.entry.agent} ${row.entry.source}`, cell: named },
    ...numbers,
    { name: "seeds", text: (row) => row.entry.seeds || "not said", minor: true },
    { name: "date", title: "month of the paper, or day of the last run", text: (row) => row.entry.date, minor: true },
    { name: "versions", text: (row) => row.entry.versions, minor: true },
  ].filter((column) => column.name !== "versions" || rowsOf(regime).some((row) => row.entry.versions));
  new Table(place, "agents", rowsOf(regime), columns, [1, true]);
}

function taskTable(place) {
  const regime = data.regimes[Number(place.dataset.byTask)];
  const rows = rowsOf(regime).flatMap((row) => regime.tasks.filter((task) => row.entry.tasks[task]).map((task) => ({ ...row, task })));
  new Table(place.querySelector("div"), "tasks", rows, [
    { name: "agent", text: (row) => `${row.entry.agent} ${row.entry.source}`, cell: named },
    { name: "task", text: (row) => row.task, choose: true, wide: true },
    {
      name: "success",
      number: true,
      text: (row) => percent(row.entry.tasks[row.task].mean),
      value: (row) => row.entry.tasks[row.task].mean,
      cell: (row) => figure(row, "tasks", row.task),
      mark: (row) => (regime.bestTasks[row.task][row.place] ? "best" : ""),
    },
    { name: "seeds", text: (row) => row.entry.seeds || "not said", minor: true },
  ]);
}

// The figures that a figure is the mean of: of a domain its tasks', of the average all tasks' or else the domains'.
function parts(entry, kind, name) {
  if (kind === "tasks") return [];
  const tasks = Object.entries(entry.tasks).filter(([task]) => name === "average" || task.startsWith(`${name}-singletask`));
  if (tasks.length || name !== "average") return tasks;
  return Object.entries(entry.cells).filter(([domain]) => domain !== "average");
}

const seedTexts = (cell) => cell.seeds.map(([seed, success]) => `${seed}: ${percent(success)}`).join(", ");
const fileLink = (file) => (file.href ? h("a", { href: file.href }, file.name) : h("code", {}, file.name));

function showEvidence(entry, regime, kind, name) {
  const place = document.getElementById("evidence");
  const cell = entry[kind][name];
  const heading = h("h2", { tabindex: "-1" }, `${entry.agent}, ${name}: ${percent(cell.mean, cell.digits)}`);
  const pair = (term, ...content) => [h("dt", {}, term), h("dd", {}, ...content)];
  const files = entry.files.flatMap((file, index) => (index ? [", ", fileLink(file)] : [fileLink(file)]));
  const interval = known(cell.low) ? pair("95% interval", `${percent(cell.low)} to ${percent(cell.high)}`) : [];
  const rows = parts(entry, kind, name).map(([part, of]) => h("tr", {}, h("th", { scope: "row" }, part),
    h("td", { class: "number" }, withInterval(of, of.digits)), h("td", {}, of.evidence), h("td", {}, seedTexts(of))));
  const head = h("tr", {}, ...["of", "success", "evidence", "seeds"].map((text) => h("th", { scope: "col", class: "plain" }, text)));
  const table = h("table", {}, h("thead", {}, head), h("tbody", {}, ...rows));
  place.replaceChildren(
    heading,
    h("p", { class: "quiet" }, h("a", { href: `#regime-${regime.name}` }, `back to ${regime.title}`)),
    h("div", { class: "details" }, h("dl", {},
      ...interval,
      ...pair("evidence", cell.evidence),
      ...(cell.seeds.length ? pair("seeds", seedTexts(cell)) : []),
      ...pair("read from", ...files),
      ...pair("regime", regime.title),
      ...(entry.date ? pair("date", entry.date) : []),
      ...entry.about.filter(([, text]) => text).flatMap(([term, text]) => pair(term, text)),
    )),
    rows.length ? h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "parts" }, table) : "",
  );
  place.hidden = false;
  heading.focus({ preventScroll: true });
  place.scrollIntoView();
}

function follow() {
  const found = /^#evidence=(\d+)\.(cells|tasks)\.(.+)$/.exec(location.hash);
  let [entry, name] = [found && data.entries[Number(found[1])], ""];
  try {
    name = found && decodeURIComponent(found[3]);
  } catch (error) {
    if (!(error instanceof URIError)) throw error; // a mistyped address names no figure
  }
  if (entry && Object.hasOwn(entry[found[2]], name)) {
    showEvidence(entry, data.regimes.find((one) => one.entries.includes(Number(found[1]))), found[2], name);
  } else document.getElementById("evidence").hidden = true;
}

for (const place of document.querySelectorAll("[data-domains]")) domainTable(place);
for (const place of document.querySelectorAll("[data-by-task]")) {
  let made = false;
  const make = () => {
    if (place.open && !made) taskTable(place);
    made = made || place.open;
  };
  place.addEventListener("toggle", make);
  make();
}
addEventListener("hashchange", follow);
follow();
