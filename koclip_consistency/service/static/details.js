// Page 3: one hashtag, or one post.
import { el, fault, get, link, main, parameters, picture, remember, systemChoice } from "./dom.js";
import { figure, splitName, t } from "./words.js";
import { TABLE } from "./gallery.js";

export async function showHashtag(about) {
  if (!about.data) return main.append(fault(t("noTable"), TABLE));
  const asked = parameters(), found = el("div");
  const name = el("input", { type: "search", id: "name", value: asked.name ?? "" });
  const system = systemChoice(about, (chosen) => load({ ...chosen }));
  const form = el("form", { class: "filters", onsubmit: (event) => { event.preventDefault(); load({ name: name.value }); } },
    el("label", { class: "choose" }, t("hashtagName"), name), el("button", { type: "submit" }, t("show")), system.element);
  main.append(form, found);

  async function load(values) {
    Object.assign(asked, values);
    remember(asked);
    if (!asked.name) return found.replaceChildren();
    try {
      const chosen = system.value(), told = await get("/api/hashtag", { ...chosen, name: asked.name });
      if (!told.rows.length) return found.replaceChildren(el("p", {}, t("noSuchHashtag")));
      const image = (row, at) => link("/post", { image: row.image, ...chosen }, told.names[at]);
      found.replaceChildren(summary(told), el("section", { class: "card panel" }, dots(told.rows)), table(told.rows, t("image"), image));
    } catch (error) {
      found.replaceChildren(fault(error.message));
    }
  }
  await load({});
}

export async function showPost(about) {
  if (!about.data) return main.append(fault(t("noTable"), TABLE));
  const asked = parameters(), found = el("div");
  if (!asked.image) return main.append(el("p", {}, t("choosePost"), " ", link("/data", {}, t("data"))));
  const system = systemChoice(about, (chosen) => load(chosen));
  main.append(el("div", { class: "filters" }, system.element), found);

  async function load(values) {
    Object.assign(asked, values);
    remember(asked);
    try {
      const chosen = system.value(), told = await get("/api/post", { ...chosen, image: asked.image });
      const hashtag = (row) => link("/hashtag", { name: row.hashtag, ...chosen }, row.hashtag);
      found.replaceChildren(picture(asked.image, told.name, 1000, { class: "big-picture" }), el("h2", {}, told.name), summary(told), table(told.rows, t("hashtag"), hashtag));
    } catch (error) {
      found.replaceChildren(fault(error.message));
    }
  }
  await load({});
}

function summary({ summary: told }) {
  const errors = !told.n_errors ? t("noErrors") : told.interval
    ? t("meanError", { x: figure(told.mean_error), low: figure(told.interval[0]), high: figure(told.interval[1]), n: told.n_errors })
    : t("fewErrors", { n: told.n_errors });
  return el("p", {}, t("rowsOf", { n: told.n, label: figure(told.mean_label) }), ". ", errors);
}

// Label against prediction, with the dots of equal rows beside each other.
function dots(rows) {
  const side = 200, at = (score) => 20 + (side - 40) * (score - 1) / 4, cells = {};
  const circles = rows.filter((row) => row.label && row.predicted).map((row) => {
    const n = (cells[`${row.label} ${row.predicted}`] = (cells[`${row.label} ${row.predicted}`] ?? 0) + 1) - 1;
    const turn = 2.4 * n, away = 3 * Math.sqrt(n);
    return el("circle", { cx: at(row.label) + away * Math.cos(turn), cy: side - at(row.predicted) + away * Math.sin(turn), r: 3 });
  });
  if (!circles.length) return el("p", {}, t("noErrors"));
  const marks = [1, 2, 3, 4, 5].flatMap((score) => [el("text", { x: at(score), y: side + 14, "text-anchor": "middle" }, `${score}`), el("text", { x: -8, y: side - at(score) + 4, "text-anchor": "middle" }, `${score}`)]);
  return el("div", {}, el("svg", { class: "dots", viewBox: `-20 -6 ${side + 40} ${side + 26}`, role: "img", "aria-label": t("dots") },
    el("rect", { class: "frame", x: 0, y: 0, width: side, height: side }), el("line", { class: "ideal", x1: 0, y1: side, x2: side, y2: 0 }), marks, circles), el("p", { class: "soft" }, t("dots")));
}

function table(rows, title, cell) {
  const head = [title, t("row"), t("labelFilter"), t("predicted"), t("split"), t("doubt")];
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": title }, el("table", { class: "plain-table" },
    el("thead", {}, el("tr", {}, head.map((each) => el("th", { scope: "col" }, each)))),
    el("tbody", {}, rows.map((row, at) => el("tr", {}, el("td", { class: "hashtag" }, cell(row, at)), el("td", {}, `${row.row}`), el("td", {}, `${row.label ?? "–"}`),
      el("td", {}, `${row.predicted ?? "–"}`), el("td", {}, row.split ? splitName(row.split) : "–"), el("td", {}, figure(row.doubt)))))));
}
