// Page 1: an image and hashtags go in, scores come out.
import { blobFrom, el, fault, fileOf, get, link, main, picture, post, remember, say, systemChoice } from "./dom.js";
import { figure, t } from "./words.js";

const LARGEST = 20 * 1024 * 1024;
const TRAIN = "python cli.py heads --backbone tiny --data pairs.csv --images images";

// As the command line divides a cell of several hashtags: at space and commas, and before a number sign.
export const splitHashtags = (text) => text.split(/[\s,，、]+|(?<=[^#＃])(?=[#＃])/u).filter((word) => word.replace(/[#＃]/gu, ""));

export async function showScore(about) {
  if (!about.runs.length) {
    main.append(fault(t("noRun"), TRAIN));
    return;
  }
  let image = null;
  const system = systemChoice(about, remember);
  const input = el("input", { type: "file", accept: "image/*", onchange: () => input.files[0] && take(input.files[0]) });
  const view = el("span", {}, t("drop"));
  const drop = el("label", { class: "drop" }, view, input);
  const words = el("textarea", { id: "hashtags", lang: "ko" });
  const answers = el("section", { class: "answers", "aria-label": t("score") });
  const ask = el("button", { type: "submit" }, t("ask"));
  const example = about.images ? el("button", { type: "button", class: "plain", onclick: useExample }, t("example")) : null;

  function take(file) {
    if (file.size > LARGEST) return complain(t("tooLarge"));
    image = file;
    const shown = el("img", { alt: file.name || t("image") });
    shown.addEventListener("load", () => URL.revokeObjectURL(shown.src), { once: true });
    shown.addEventListener("error", () => view.replaceChildren(file.name), { once: true });
    shown.src = URL.createObjectURL(file);
    view.replaceChildren(shown);
  }
  function complain(text) {
    answers.replaceChildren(fault(text));
    say(text);
  }
  async function useExample() {
    const rows = (await get("/api/post", { image: 0 })).rows, file = new File([await fileOf(0)], t("image"));
    if (!words.value) words.value = rows.slice(0, 4).map((row) => row.hashtag).join(" ");
    take(file);
  }
  async function submit(event) {
    event.preventDefault();
    const hashtags = splitHashtags(words.value);
    if (!image) return complain(t("noImage"));
    if (!hashtags.length) return complain(t("noHashtags"));
    const chosen = system.value(), form = new FormData();
    form.append("image", image);
    hashtags.forEach((hashtag) => form.append("hashtags", hashtag));
    form.append("run", chosen.run);
    form.append("system", chosen.system);
    ask.disabled = true;
    say(t("working"));
    try {
      const told = await post("/v1/score", form);
      answers.replaceChildren(...told.rows.map((row) => answer(row, hashtags.filter((each) => each !== row.hashtag), image, chosen)));
      say(t("scored", { n: told.rows.length, system: told.system }));
    } catch (error) {
      complain(error.message);
    } finally {
      ask.disabled = false;
    }
  }
  drop.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    if (event.dataTransfer.files[0]) take(event.dataTransfer.files[0]);
  });
  document.addEventListener("paste", (event) => {
    const pasted = [...event.clipboardData.files].find((file) => file.type.startsWith("image/"));
    if (pasted) take(pasted);
  });
  const fields = el("div", {}, el("label", { for: "hashtags" }, t("hashtags")), words, el("p", { class: "soft" }, t("separate")),
    el("div", { class: "row" }, ask, example), system.element);
  const waiting = about.status === "ready" ? null : el("p", { class: "soft" }, about.status);
  main.append(el("form", { class: "asking card", onsubmit: submit }, drop, fields), waiting ?? "", answers);
  while (waiting && (await get("/api/about")).status.startsWith("loading")) await new Promise((done) => setTimeout(done, 500));
  waiting?.remove();
}

function answer(row, others, image, chosen) {
  if (row.why_not) return el("article", { class: "answer card" }, el("h2", {}, row.hashtag), fault(row.why_not));
  const chances = row.probabilities ?? [];
  const bars = chances.map((chance, at) => {
    const bar = el("i", { "aria-hidden": "true" });
    bar.style.height = `${Math.round(34 * chance + 1)}px`;
    const label = `${t("chanceOf", { n: at + 1 })}: ${Math.round(100 * chance)} %`;
    return el("li", { class: at + 1 === row.score ? "best" : null }, el("span", { class: "unseen" }, label),
      el("b", { "aria-hidden": "true" }, `${Math.round(100 * chance)}%`), bar, el("span", { "aria-hidden": "true" }, `${at + 1}`));
  });
  const confidence = chances.length ? t("confidence", { x: `${Math.round(100 * Math.max(...chances))} %` }) : t("thresholds");
  const about = el("div", { class: "about" }, el("div", {}, confidence), el("div", {}, t("similarity", { x: figure(row.similarity) })));
  if (row.familiar === false) about.append(el("div", {}, el("span", { class: "badge", title: t("unfamiliarWhy") }, t("unfamiliar"))), el("div", {}, t("unfamiliarWhy")));
  const why = el("div", { class: "why", hidden: true });
  const open = el("button", { type: "button", class: "plain", "aria-expanded": "false", onclick: () => explain(open, why, row, others, image, chosen) }, t("why"));
  about.append(open);
  const said = el("div", { class: "said" }, `${row.score}`, el("small", {}, row.expected_score === null ? "" : t("expected", { x: figure(row.expected_score) })));
  return el("article", { class: "answer card", "aria-label": row.hashtag }, el("h2", {}, row.hashtag), said, bars.length ? el("ul", { class: "chances" }, bars) : el("span"), about, why);
}

async function explain(open, why, row, others, image, chosen) {
  why.hidden = !why.hidden;
  open.setAttribute("aria-expanded", String(!why.hidden));
  if (why.hidden || why.childElementCount) return;
  why.replaceChildren(el("p", { class: "soft" }, t("working")));
  const form = new FormData();
  form.append("image", image);
  form.append("hashtag", row.hashtag);
  others.forEach((each) => form.append("others", each));
  form.append("run", chosen.run);
  form.append("system", chosen.system);
  try {
    const told = await post("/api/why", form);
    const mean = (found) => (found?.n ? t("mean", { x: figure(found.mean), n: found.n }) : t("none"));
    const facts = [
      [t("cosineRank"), told.cosine_rank ? t("cosineText", { x: figure(row.similarity), rank: told.cosine_rank.rank, n: told.cosine_rank.images }) : figure(row.similarity)],
      [t("hashtagLabel"), mean(told.hashtag_labels)],
      [t("imageLabel"), mean(told.image_labels)],
      [t("textOnly"), told.text_only ? t("textOnlyText", { score: told.text_only.predicted, x: figure(told.text_only.expected_score) }) : t("none")],
      [t("preferred"), told.preferred.length ? told.preferred.map((each) => `${each.hashtag} (${figure(each.value)})`).join(", ") : t("none")],
      [t("nearest"), told.nearest.length ? "" : t("none")],
    ];
    const list = el("ul", { class: "strip-of-images", tabindex: "0", "aria-label": t("nearest") }, told.nearest.map((each) => el("li", {}, each.id === null ? each.image
      : [picture(each.id, each.image), link("/post", { image: each.id }, each.image)], el("br"), t("label", { x: each.score }))));
    const notes = told.notes.map((note) => el("p", { class: "soft" }, note));
    const map = el("button", { type: "button", class: "plain", onclick: () => drawMap(map, form, row) }, t("drawMap"));
    why.replaceChildren(el("dl", {}, facts.flatMap(([term, text]) => [el("dt", {}, term), el("dd", {}, text)])), told.nearest.length ? list : "", ...notes, map);
  } catch (error) {
    why.replaceChildren(fault(error.message));
  }
}

async function drawMap(button, form, row) {
  const place = el("div", {}, el("p", { class: "soft" }, t("drawingMap")));
  button.replaceWith(place);
  try {
    const drawn = el("img", { class: "big-picture", alt: t("mapOf", { hashtag: row.hashtag }) });
    drawn.src = URL.createObjectURL(await blobFrom("/api/explain", form));
    place.replaceChildren(drawn, el("p", { class: "soft" }, t("evidence")));
    say(t("mapOf", { hashtag: row.hashtag }));
  } catch (error) {
    place.replaceChildren(fault(error.message));
  }
}
