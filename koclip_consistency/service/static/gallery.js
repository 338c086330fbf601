// Page 2 and page 4: the table's images with their hashtags, filtered and paged by the server.
import { choice, el, fault, finished, get, link, main, parameters, picture, remember, say, systemChoice } from "./dom.js";
import { figure, splitName, t } from "./words.js";

export const TABLE = "python cli.py app --data pairs.csv --images images";
const AUDIT = "python cli.py audit --backbone tiny --data pairs.csv --images images";
const SCORES = ["1", "2", "3", "4", "5"].map((score) => [score, score]);

export async function showData(about) {
  if (!about.data) return main.append(fault(t("noTable"), TABLE));
  const check = el("button", { type: "button", class: "plain", onclick: () => panels(check) }, t("check"));
  await gallery(about, {}, el("div", { class: "row" }, check));
}

export async function showDoubtful(about) {
  if (!about.data) return main.append(fault(t("noTable"), TABLE));
  if (!about.audits.length) return main.append(fault(t("noAudit"), AUDIT));
  main.append(el("p", { class: "soft" }, t("doubtfulAbout"), " ", link("/annotate", { kind: "doubtful", audit: about.audits[0] }, t("sendToAnnotate"))));
  await gallery(about, { doubt: "true", order: "doubt" }, null);
}

async function gallery(about, fixed, above) {
  const asked = parameters();
  const system = systemChoice(about, (chosen) => change(chosen));
  const counted = el("output", { id: "counted" });
  const shown = el("div", { class: "gallery", id: "gallery" });
  const pager = el("div", { class: "pager" });
  const text = el("input", { type: "search", placeholder: t("searchHint"), value: asked.text ?? "" });
  let timer = null;
  text.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(() => change({ text: text.value }), 250); });
  const filter = (name, label, options) => choice(label, [["", t("any")], ...options], asked[name] ?? "", (value) => change({ [name]: value }));
  const filters = [
    el("label", { class: "choose" }, t("search"), text),
    filter("label", t("labelFilter"), SCORES),
    filter("predicted", t("predictedFilter"), SCORES),
    filter("split", t("splitFilter"), ["train", "val", "test"].map((side) => [side, splitName(side)])),
    filter("error", t("error"), ["1", "2", "3"].map((n) => [n, t("atLeast", { n })])),
    fixed.doubt ? null : filter("doubt", t("doubt"), [["true", t("doubted")]]),
    filter("repeats", t("repeats"), [["repeats", t("repeated")], ["conflicts", t("conflicts")]]),
    fixed.order ? null : choice(t("order"), [["", t("byTable")], ["error", t("byError")], ["doubt", t("byDoubt")]], asked.order ?? "", (order) => change({ order })),
    system.element,
  ];
  const reset = el("button", { type: "button", class: "plain", onclick: () => location.assign(location.pathname) }, t("reset"));
  main.append(el("div", { class: "filters" }, filters, reset, counted), above ?? "", shown, pager);

  let last = 0;
  async function load() {
    const mine = ++last;
    try {
      const told = await get("/api/rows", { ...system.value(), ...asked, ...fixed });
      if (mine !== last) return;
      counted.textContent = t("counted", told);
      say(counted.textContent);
      shown.replaceChildren(...(told.posts.length ? told.posts.map((post) => card(post, system.value(), fixed.doubt)) : [el("p", {}, t("noHits"))]));
      pager.replaceChildren(turn(told, -1, t("before")), el("span", {}, t("page", told)), turn(told, 1, t("after")));
    } catch (error) {
      shown.replaceChildren(fault(error.message));
      pager.replaceChildren();
    }
  }
  function turn(told, by, label) {
    const to = told.page + by;
    return el("button", { type: "button", class: "plain", disabled: to < 1 || to > told.pages, onclick: () => { change({ page: String(to) }); main.focus(); } }, label);
  }
  function change(values) {
    if (!("page" in values)) delete asked.page;
    Object.assign(asked, values);
    remember(asked);
    return load();
  }
  await load();
}

function card(post, chosen, doubting) {
  const rows = post.rows.map((row) => tag(row, chosen, doubting));
  return el("figure", { class: "post card" },
    el("a", { class: "picture", href: link("/post", { image: post.id, ...chosen }).href, tabindex: "-1", "aria-hidden": "true" }, picture(post.id, "")),
    el("figcaption", {}, link("/post", { image: post.id, ...chosen }, post.name)),
    el("ul", { class: "tags", tabindex: "0", "aria-label": `${t("hashtags")}: ${post.name}` }, rows));
}

export function tag(row, chosen, doubting) {
  const off = row.label && row.predicted ? Math.min(2, Math.abs(row.label - row.predicted)) : "none";
  const marks = doubting && row.doubt !== null
    ? t("suggested", { label: row.label, suggested: row.suggested, doubt: figure(row.doubt) })
    : row.label ? t("labelScore", { label: row.label, score: row.predicted ?? "–" }) : t("unlabelled");
  return el("li", { class: "tag", "data-off": off }, el("span", { class: "text" }, link("/hashtag", { name: row.hashtag, ...chosen }, row.hashtag)), " ", el("span", { class: "marks" }, marks));
}

async function panels(check) {
  const place = el("div", { class: "panels" }, el("p", { class: "soft" }, t("checking")));
  check.parentNode.replaceWith(place);
  const panel = (title, ...inside) => el("section", { class: "panel card" }, el("h2", { class: "small" }, title), inside);
  const groups = (found) => (found.length ? el("ul", {}, found.map((names) => el("li", {}, names.join(" = ")))) : el("p", {}, t("none")));
  try {
    const told = await finished("/api/health");
    place.replaceChildren(
      panel(t("leakage"), el("ul", {}, Object.entries(told.leakage).map(([protocol, leak]) => el("li", {}, t("leak", { protocol, ...leak }))))),
      panel(t("pairs"), el("p", {}, t("pairCounts", told))),
      panel(t("files"), el("p", {}, t("fileCounts", { missing: told.missing, broken: told.broken.length })), told.broken.length ? groups(told.broken) : ""),
      panel(t("duplicates"), groups(told.duplicates)),
      panel(t("near"), groups(told.near_duplicates)),
    );
    say(t("pairCounts", told));
  } catch (error) {
    place.replaceChildren(fault(error.message));
  }
}
