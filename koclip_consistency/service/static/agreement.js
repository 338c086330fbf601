// Page 7: how far the annotators, the labels and a run agree, and on which pairs they do not.
import { choice, el, fault, finished, get, link, main, picture, say } from "./dom.js";
import { TABLE } from "./gallery.js";
import { figure, t } from "./words.js";

const FIGURES = ["kappa_unweighted", "kappa_linear", "kappa_quadratic", "agreement", "within_one"];
const PAGE = 12;

export async function showAgreement(about) {
  if (!about.data) return main.append(fault(t("noTable"), TABLE));
  const asked = new URLSearchParams(location.search), told = await get("/api/raters");
  const given = asked.getAll("rater"), known = [...told.raters, ...told.columns];
  const chosen = new Set(given.length ? given.filter((name) => known.includes(name)) : told.chosen);
  const box = (name) => el("label", {}, el("span", {}, el("input", { type: "checkbox", checked: chosen.has(name), onchange: (event) => { if (event.currentTarget.checked) chosen.add(name); else chosen.delete(name); load(); } }), ` ${name}`));
  const runs = about.runs.map((run) => [run.name, run.name]);
  let run = runs.some(([name]) => name === asked.get("run")) ? asked.get("run") : "", last = 0;
  const found = el("div");
  main.append(el("p", { class: "soft" }, t("agreementAbout")), el("div", { class: "filters raters", role: "group", "aria-label": t("raters") }, known.map(box),
    runs.length ? choice(t("run"), [["", t("none")], ...runs], run, (now) => { run = now; load(); }) : ""), found);

  async function load() {
    const mine = ++last, raters = known.filter((name) => chosen.has(name)), values = [...raters.map((name) => ["rater", name]), ...(run ? [["run", run]] : [])];
    history.replaceState(null, "", `${location.pathname}?${new URLSearchParams(values)}`);
    if (raters.length < 2) return found.replaceChildren(el("p", {}, t("fewRaters"), " ", link("/annotate", {}, t("annotate"))));
    found.replaceChildren(el("p", { class: "soft" }, t("working")));
    try {
      const agreed = await finished("/api/agreement", values);
      if (mine === last) found.replaceChildren(...shown(agreed));
    } catch (error) {
      if (mine === last) found.replaceChildren(fault(error.message));
    }
  }
  await load();
}

function shown(agreed) {
  const alpha = agreed.krippendorff_alpha_ordinal;
  const headline = t("alpha", { x: withEnds(alpha.value, alpha.ci95), n: alpha.n, images: alpha.images });
  say(headline);
  return [
    el("p", { class: "lead", id: "alpha" }, headline),
    agreed.by_doubt ? el("p", { class: "fault", role: "note", id: "by-doubt" }, t("byDoubtWarning", { n: agreed.by_doubt })) : "",
    agreed.ceilings.length ? ceilings(agreed) : "",
    el("h2", {}, t("pairsOfRaters")), pairs(agreed.pairs, t("pairsOfRaters")),
    agreed.models.length ? [el("h2", {}, t("systemsAndRaters")), pairs(agreed.models, t("systemsAndRaters"))] : "",
    el("p", { class: "soft" }, t("agreementNotes")),
    el("details", { class: "card" }, el("summary", {}, t("confusions")), el("div", { class: "grid confusions" }, [...agreed.pairs, ...agreed.models].map(matrix))),
    el("h2", {}, t("disagreements", { n: agreed.disagreeing })), disagreements(agreed.disagreements),
  ].flat();
}

const withEnds = (value, ends) => (ends ? `${figure(value, 3)} (${figure(ends[0])} – ${figure(ends[1])})` : figure(value, 3));

function scrolling(label, head, rows) {
  return el("div", { class: "scroll card", tabindex: "0", role: "region", "aria-label": label }, el("table", { class: "plain-table" },
    el("thead", {}, el("tr", {}, head.map((each) => el("th", { scope: "col" }, each)))), el("tbody", {}, rows)));
}

function pairs(found, label) {
  const cell = (pair, name) => el("td", {}, figure(pair.figures[name], 3), pair.ci95[name] ? el("span", { class: "ci" }, `${figure(pair.ci95[name][0])}–${figure(pair.ci95[name][1])}`) : "");
  return scrolling(label, [t("raters"), t("rows"), ...FIGURES.map((name) => t(name === "agreement" ? "equalScores" : name))], found.map((pair) => el("tr", {}, el("th", { scope: "row" }, `${pair.first} – ${pair.second}`), el("td", {}, `${pair.n}`), FIGURES.map((name) => cell(pair, name)))));
}

// Is a system within human disagreement?
function ceilings(agreed) {
  const verdict = (each) => (!each.ci95 ? t("undecided") : each.ci95[1] < 0 ? t("belowPeople") : each.ci95[0] > 0 ? t("abovePeople") : t("withinPeople"));
  return [el("h2", {}, t("ceiling")), scrolling(t("ceiling"), [t("systemName"), t("rows"), t("withRaters"), t("ratersAmong"), t("difference"), ""].slice(0, 5).concat(t("verdict")),
    agreed.ceilings.map((each) => el("tr", {}, el("th", { scope: "row" }, each.system), el("td", {}, `${each.n}`), el("td", {}, figure(each.model, 3)), el("td", {}, figure(each.people, 3)), el("td", {}, withEnds(each.difference, each.ci95)), el("td", {}, verdict(each))))),
    el("p", { class: "soft" }, t("ceilingAbout"))];
}

function matrix(pair) {
  const most = Math.max(1, ...pair.confusion.flat());
  const cell = (count, i, j) => { const made = el("td", { class: i === j ? "hit" : null }, `${count}`); made.style.setProperty("--share", count / most); return made; };
  return el("div", { class: "panel" }, el("table", { class: "matrix" }, el("caption", {}, t("matrixAxes", pair)),
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, el("span", { class: "unseen" }, pair.first)), [1, 2, 3, 4, 5].map((score) => el("th", { scope: "col" }, `${score}`)))),
    el("tbody", {}, pair.confusion.map((counts, i) => el("tr", {}, el("th", { scope: "row" }, `${i + 1}`), counts.map((count, j) => cell(count, i, j)))))));
}

function disagreements(found) {
  const cards = el("div", { class: "gallery" }), more = el("button", { type: "button", class: "plain", onclick: add }, t("more"));
  let count = 0;
  function add() {
    cards.append(...found.slice(count, count += PAGE).map((each) => el("figure", { class: "post card" }, picture(each.id, t("image")),
      el("figcaption", {}, link("/post", { image: each.id }, each.image), ` · ${t("row")} ${each.row}`),
      el("p", { class: "asked" }, link("/hashtag", { name: each.hashtag }, each.hashtag)),
      el("dl", { class: "others" }, Object.entries(each.scores).flatMap(([name, score]) => [el("dt", {}, name), el("dd", {}, score === null ? "–" : `${score}`)])))));
    more.hidden = count >= found.length;
  }
  add();
  return el("div", {}, found.length ? cards : el("p", {}, t("noDisagreement")), el("div", { class: "pager" }, more));
}
