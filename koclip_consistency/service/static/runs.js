// Page 8: the runs and their results.
import { download, el, fault, finished, get, link, main, say } from "./dom.js";
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
  main.append(several(runs.filter((run) => run.results.length), titles));
  for (const run of runs.filter((each) => each.problem)) main.append(fault(`${run.name}: ${t("problem")}. ${run.problem}`));
}

// Runs to compare with the first one that is chosen, or to write a report about.
function several(runs, titles) {
  let chosen = [];
  const result = el("div"), button = (text, least, work) => el("button", { type: "button", class: "plain", onclick: async (event) => {
    if (chosen.length < least) return result.replaceChildren(fault(t("chooseRuns", { n: least })));
    const pressed = event.currentTarget;
    pressed.disabled = true;
    result.replaceChildren(el("p", { class: "soft" }, t("working")));
    try {
      result.replaceChildren(...(await work()));
    } catch (error) {
      result.replaceChildren(fault(error.message));
    }
    pressed.disabled = false;
  } }, text);
  const box = (run) => el("label", {}, el("span", {}, el("input", { type: "checkbox", onchange: (event) => {
    chosen = chosen.filter((name) => name !== run.name);
    if (event.currentTarget.checked) chosen.push(run.name);
  } }), ` ${run.name}`));
  const asked = () => chosen.map((name) => ["run", name]);
  return el("section", {}, el("h2", {}, t("several")), el("p", { class: "soft" }, t("severalAbout")), el("div", { class: "filters" }, runs.map(box)),
    el("div", { class: "row" }, button(t("compare"), 2, async () => compared(await finished("/api/compare", asked()), titles)),
      button(t("report"), 1, async () => { await download("/api/report", asked(), "report.html"); say(t("reported")); return [el("p", {}, t("reported"))]; })), result);
}

function compared({ differences, notes }, titles) {
  const head = [t("systemName"), t("metric"), t("value"), t("difference"), "95 %", "p (Holm)"];
  const rows = differences.map((each) => el("tr", {}, el("th", { scope: "row" }, each.name), el("td", {}, titles[each.metric] ?? each.metric), el("td", {}, figure(each.value, 3)), el("td", {}, figure(each.difference, 3)),
    el("td", {}, each.low === null ? "–" : `${figure(each.low, 3)} – ${figure(each.high, 3)}`), el("td", {}, figure(each.p_holm, 3))));
  say(t("compared", { reference: differences[0].reference, n: differences[0].n }));
  return [el("p", {}, t("compared", { reference: differences[0].reference, n: differences[0].n })),
    el("div", { class: "scroll card", tabindex: "0", role: "region", "aria-label": t("compare") }, el("table", { class: "plain-table" }, el("thead", {}, el("tr", {}, head.map((each) => el("th", { scope: "col" }, each)))), el("tbody", {}, rows))),
    ...notes.map((note) => el("p", { class: "soft" }, note))];
}
