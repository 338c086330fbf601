// Page 6: an annotator scores one pair after another. An answer counts as saved when the server has it on its disk.
import { blobOf, choice, el, fault, get, link, main, parameters, postJson, remember, say, systemChoice, viewOf } from "./dom.js";
import { annotator } from "./annotator.js";
import { TABLE } from "./gallery.js";
import { figure, t } from "./words.js";

const NAME = "koclip-annotator", RETRY = 2000, AT_ONCE = 200, AHEAD = 2, KEPT_PICTURES = 8;

export async function showAnnotate(about) {
  if (!about.data) return main.append(fault(t("noTable"), TABLE));
  const asked = parameters(), told = await get("/api/annotate");
  if (asked.name && asked.begun) return begin(about, asked, told);
  const name = el("input", { id: "annotator", required: true, maxlength: 40, autocomplete: "off", list: "annotators", value: asked.name ?? localStorage.getItem(NAME) ?? "" });
  const kinds = [["random", t("queueRandom")], ...about.audits.map((audit) => [`doubtful ${audit}`, t("queueDoubtful", { audit })]), ...(told.list ? [["list", t("queueList", { file: told.list })]] : [])];
  const wanted = asked.kind === "doubtful" ? `doubtful ${asked.audit ?? about.audits[0]}` : asked.kind;
  let kind = kinds.some(([key]) => key === wanted) ? wanted : "random";
  const number = (id, value, least) => el("input", { id, type: "number", min: least, step: 1, value });
  const limit = number("limit", asked.limit ?? "", 1), seed = number("seed", asked.seed ?? "42", 0);
  const blind = el("input", { type: "checkbox", checked: asked.open !== "true" });
  const order = el("label", { class: "choose", hidden: kind !== "random" }, t("seed"), seed);
  const form = el("form", { class: "beginning card", onsubmit: start },
    el("label", { class: "choose" }, t("annotatorName"), name, el("datalist", { id: "annotators" }, told.annotators.map((each) => el("option", { value: each })))),
    choice(t("queue"), kinds, kind, (now) => { kind = now; order.hidden = kind !== "random"; }),
    el("label", { class: "choose" }, t("howMany"), limit), order,
    el("label", { class: "check" }, blind, ` ${t("blind")}`),
    el("div", { class: "row" }, el("button", { type: "submit" }, t("begin"))));
  const problem = el("div");
  main.append(el("p", { class: "soft" }, t("annotateAbout", { folder: told.folder })), form, problem);
  name.focus();

  async function start(event) {
    event.preventDefault();
    const [queue, ...audit] = kind.split(" ");
    const chosen = { ...asked, name: name.value.trim(), kind: queue, audit: audit.join(" "), seed: queue === "random" ? seed.value : "", limit: limit.value, open: blind.checked ? "" : "true", begun: "1" };
    try {
      await begin(about, chosen, told, () => main.replaceChildren());
      remember(chosen);
    } catch (error) {
      problem.replaceChildren(fault(error.message));
    }
  }
}

async function begin(about, asked, told, ready = () => {}) {
  say(t("loading"));
  const found = await get("/api/annotate/queue", { name: asked.name, kind: asked.kind, audit: asked.audit, seed: asked.seed, limit: asked.limit });
  localStorage.setItem(NAME, found.annotator);
  ready();
  const blind = asked.open !== "true", system = systemChoice(about, (chosen) => { Object.assign(asked, chosen); remember(asked); });
  const banner = el("div", { id: "banner" }), saved = el("output", { id: "saved" });
  main.append(el("div", { class: "row who" }, el("b", {}, found.annotator), saved, link("/annotate", { name: found.annotator }, t("otherQueue")), link("/agreement", {}, t("agreement"))), banner);
  if (found.torn) main.append(el("p", { class: "soft" }, t("torn", { file: found.torn })));
  if (!found.items.length) return main.append(el("p", {}, t("emptyQueue")));
  const store = keeper(found, state);
  let stopped = false;
  function state(waiting, error) {
    stopped = Boolean(error && error.status !== undefined);
    saved.textContent = waiting ? t("waiting", { n: waiting }) : t("saved");
    saved.classList.toggle("open", waiting > 0);
    const text = !error ? null : stopped ? t("notKept", { n: waiting, reason: error.message }) : t("serverGone", { n: waiting });
    banner.replaceChildren(text ? el("p", { class: stopped ? "fault" : "fault slow", role: "alert" }, text) : "");
  }
  const rows = new Set(found.items.map((item) => item.row)), lines = found.lines, known = new Set(lines.map((line) => line.id));
  for (const line of store.waiting()) {  // answers of an earlier visit that are not on the disk yet
    const at = lines.findIndex((each) => each.id === line.undo_of);
    if (at >= 0) lines.splice(at, 1);
    else if (!line.undo_of && rows.has(line.row) && !known.has(line.id)) lines.push(line);
  }
  const pictures = picturesOf(found.items);
  annotator({
    items: found.items, lines, queue: asked.kind, blind,
    picture: pictures,
    record(line) {
      if (stopped) say(banner.textContent);
      return !stopped && store.keep(line);
    },
    compare: async (item) => others(found.annotator, item, system.value(), !blind),
    finished: () => link("/agreement", {}, t("agreement")),
  });
  main.append(el("details", { class: "card settings" }, el("summary", {}, t("comparedWith")), el("div", { class: "filters" }, system.element), el("p", { class: "soft" }, t("keptIn", { file: found.file }))));
  store.send();
}

// Answers wait in this browser until the server has confirmed them, and are sent again by id.
function keeper({ annotator: name, table }, state) {
  const key = `koclip-waiting ${table} ${name}`;
  const waiting = () => JSON.parse(localStorage.getItem(key) ?? "[]");
  let busy = false, timer = null, trouble = null;  // why the last request failed
  function keep(line) {
    try {
      localStorage.setItem(key, JSON.stringify([...waiting(), line]));
    } catch (error) {
      state(waiting().length, Object.assign(error, { status: 0 }));
      return false;
    }
    state(waiting().length, trouble);
    send();
    return true;
  }
  async function send() {
    if (busy) return;
    busy = true;
    clearTimeout(timer);
    try {
      for (let lines = waiting(); lines.length; lines = waiting()) {
        state(lines.length, trouble);
        const told = await postJson("/api/annotate/answers", { annotator: name, lines: lines.slice(0, AT_ONCE) });
        const done = new Set(told.saved);
        localStorage.setItem(key, JSON.stringify(waiting().filter((line) => !done.has(line.id))));
        trouble = null;
      }
      state(0, null);
    } catch (error) {
      trouble = error;
      state(waiting().length, trouble);
      timer = setTimeout(send, RETRY);
    }
    busy = false;
  }
  return { keep, send, waiting };
}

// Images by item; those of the next items are fetched ahead.
function picturesOf(items) {
  const known = new Map(), index = new Map(items.map((item, at) => [item, at]));
  function fetched(image) {
    if (!known.has(image)) {
      known.set(image, blobOf(image, 1000));
      for (const [old] of [...known].slice(0, -KEPT_PICTURES)) known.delete(old);
      known.get(image).catch(() => known.delete(image));
    }
    return known.get(image);
  }
  return (item) => {
    const view = viewOf(fetched(item.image), t("imageToJudge"));
    for (const next of items.slice(index.get(item) + 1, index.get(item) + 1 + AHEAD)) fetched(next.image).catch(() => {});
    return view;
  };
}

async function others(name, item, system, unanswered) {
  try {
    const told = await get("/api/annotate/others", { name, row: item.row, unanswered, ...system });
    const facts = [
      [t("labelFilter"), told.label ?? "–"],
      [t("predicted"), told.predicted ? `${told.predicted} (${figure(told.value)})` : "–"],
      ...(told.doubt === null ? [] : [[t("doubt"), `${figure(told.doubt)} → ${told.suggested}`]]),
      ...told.others.map((each) => [each.annotator, `${each.score || t("cannotSay")}${each.note ? ` · ${each.note}` : ""}`]),
    ];
    return el("dl", { class: "others" }, facts.flatMap(([term, text]) => [el("dt", {}, term), el("dd", {}, `${text}`)]));
  } catch (error) {
    return fault(error.message);
  }
}
