// Page 8: the runs and their results.
import { el, fault, get, link, main } from "./dom.js";
import { figure, splitName, t } from "./words.js";

const SHOWN = ["accuracy", "macro_f1", "mae", "qwk"];

export async function showRuns(about) {
  const { titles, runs } = await get("/api/runs");
  if (!runs.length) return main.append(fault(t("noRuns", { folder: about.runs_folder }), "python cli.py demo"));
  // A control is the same in every run on the same rows: it is listed once.
  const key = ({ result }) => JSON.stringify([result.system, result.protocol, result.split, result.n, result.metrics]);
  const every = runs.flatMap((run) => run.results.map((result) => ({ run, result })));
  const lines = [...new Map(every.toReversed().map((line) => [key(line), line])).values()];
  const rank = ({ result }) => (result.metrics.macro_f1 ?? 0) + (result.metrics.qwk ?? 0);
  lines.sort((a, b) => rank(b) - rank(a));
  const metric = (result, name) => {
    const ends = result.ci95[name];
    return el("td", {}, figure(result.metrics[name], 3), ends ? el("span", { class: "ci" }, `${figure(ends[0])}–${figure(ends[1])}`) : "");
  };
  const head = [t("systemName"), t("run"), t("splitFilter"), t("rows"), ...SHOWN.map((name) => titles[name] ?? name)];
  const systems = (run, result) => (run.systems.includes(result.system) ? link("/", { run: run.name, system: result.system }, result.system) : result.system);
  main.append(el("p", { class: "soft" }, t("runsAbout")), el("div", { class: "scroll card", tabindex: "0", role: "region", "aria-label": t("runs") }, el("table", { class: "plain-table" },
    el("thead", {}, el("tr", {}, head.map((each) => el("th", { scope: "col" }, each)))),
    el("tbody", {}, lines.map(({ run, result }) => el("tr", {}, el("th", { scope: "row" }, systems(run, result)), el("td", {}, run.name),
      el("td", {}, splitName(result.split)), el("td", {}, `${result.n}`), SHOWN.map((name) => metric(result, name))))))));
  for (const run of runs.filter((each) => each.problem)) main.append(fault(`${run.name}: ${t("problem")}. ${run.problem}`));
}
