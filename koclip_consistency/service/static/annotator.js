// One pair after another, answered by keyboard: for the page Annotate, and for the page that needs no server.
import { el, main, say } from "./dom.js";
import { t } from "./words.js";

const SCORES = [1, 2, 3, 4, 5], ARROWS = { "←": "ArrowLeft", "→": "ArrowRight" };

export function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// items: [{row, hashtag, ...}]; lines: earlier answers that were not undone; picture(item): an element;
// record(line): keeps an answer, false if it cannot; compare(item), optional: an element with what others say;
// finished(): elements below "all done".
export function annotator({ items, lines, queue, blind, picture, record, compare, finished }) {
  const place = new Map(items.map((item, at) => [item.row, at])), drafts = new Map(), seen = new Set();
  let at = 0;
  const given = (row) => lines.findLast((line) => line.row === row);
  const done = () => new Set(lines.map((line) => line.row)).size;
  const item = () => items[at];

  const bar = el("progress", { max: items.length, value: 0, "aria-label": t("answered") });
  const count = el("output", { id: "done" });
  const shown = el("div", { class: "shown" });
  const hashtag = el("h2", { id: "asked", lang: "ko" });
  const buttons = [...SCORES, 0].map((score) => el("button", { type: "button", class: score ? "score" : "score none", "data-score": score, "aria-pressed": "false", "aria-keyshortcuts": score, onclick: () => answer(score) },
    el("b", {}, `${score}`), el("span", {}, score ? t(`score${score}`) : t("cannotSay"))));
  const act = (key, text, work) => el("button", { type: "button", class: "plain", "aria-keyshortcuts": ARROWS[key] ?? key, onclick: work }, `${t(text)} `, el("kbd", {}, key));
  const note = el("textarea", { id: "note", "aria-label": t("note"), maxlength: 1000, rows: 2, hidden: true, onkeydown: noteKey, onblur: () => keepNote() });
  const noted = el("p", { class: "soft noted" });
  const beside = el("div", { class: "beside" });
  const undoing = act("U", "undo", undo), writing = act("N", "note", writeNote);
  const before = act("←", "before", () => move(-1)), after = act("→", "after", () => move(1));
  const comparing = compare ? act("C", "compareOthers", () => showOthers()) : null;
  const help = el("dialog", { class: "help", "aria-label": t("help") }, el("h2", { class: "small" }, t("help")),
    el("dl", {}, [["1 – 5", "keyScore"], ["0", "cannotSay"], ["U", "keyUndo"], ["N", "keyNote"], ["← →", "keyMove"], ...(compare ? [["C", "keyCompare"]] : []), ["?", "help"]].flatMap(([key, text]) => [el("dt", {}, el("kbd", {}, key)), el("dd", {}, t(text))])),
    el("button", { type: "button", onclick: () => help.close() }, t("close")));
  const pair = el("section", { class: "pair card", "aria-label": t("pairToJudge") }, shown, el("div", { class: "judging" },
    el("p", { class: "soft" }, t("question")), hashtag, el("div", { class: "scores", role: "group", "aria-label": t("scores") }, buttons),
    note, noted, el("div", { class: "row" }, undoing, writing, before, after, comparing, act("?", "help", () => help.showModal())), beside));
  const end = el("section", { class: "card panel", hidden: true });
  main.append(el("div", { class: "meter" }, bar, count), pair, end, help);

  function show() {
    const all = at >= items.length;
    pair.hidden = all;
    end.hidden = !all;
    bar.value = done();
    count.textContent = t("doneOf", { n: done(), all: items.length });
    undoing.disabled = !lines.length;
    beside.replaceChildren();
    if (all) {
      end.replaceChildren(el("h2", { class: "small" }, items.length === done() ? t("allDone", { n: items.length }) : t("endOfQueue", { n: items.length - done() })),
        el("div", { class: "row" }, act("U", "undo", undo), act("←", "before", () => move(-1)), finished()));
      say(t("doneOf", { n: done(), all: items.length }));
      return;
    }
    const mine = given(item().row);
    shown.replaceChildren(picture(item()));
    hashtag.textContent = item().hashtag;
    for (const button of buttons) button.setAttribute("aria-pressed", String(mine?.score === Number(button.dataset.score)));
    note.hidden = true;
    noted.textContent = drafts.get(item().row) ?? mine?.note ?? "";
    before.disabled = at === 0;
    if (comparing) comparing.disabled = blind && !mine;
    if (compare && !blind) showOthers();
    say(mine ? t("sayAnswered", { hashtag: item().hashtag, score: mine.score || t("cannotSay") }) : item().hashtag);
  }
  function line(fields) {
    const { row, sha256 } = item();
    return { id: newId(), time: new Date().toISOString(), row, ...(sha256 ? { image_sha256: sha256 } : {}), hashtag: item().hashtag, score: null, undo_of: "", note: "", queue, blind: blind && !seen.has(row), ...fields };
  }
  function answer(score) {
    if (at >= items.length) return;
    const { row } = item(), told = line({ score, note: drafts.get(row) ?? given(row)?.note ?? "" });
    if (!record(told)) return;
    lines.push(told);
    drafts.delete(row);
    at = nextOpen(at + 1);
    show();
  }
  function undo() {
    const last = lines.at(-1);
    if (!last) return;
    at = place.get(last.row);
    if (!record(line({ undo_of: last.id }))) return show();
    lines.pop();
    if (last.note) drafts.set(last.row, last.note);
    show();
    say(t("undone", { hashtag: item().hashtag }));
  }
  function move(by) {
    at = Math.min(items.length, Math.max(0, at + by));
    show();
  }
  function nextOpen(from) {
    const answered = new Set(lines.map((each) => each.row));
    const open = [...items.keys()].filter((k) => !answered.has(items[k].row));
    return open.find((k) => k >= from) ?? open[0] ?? items.length;
  }
  function writeNote() {
    note.hidden = false;
    note.value = noted.textContent;
    noted.textContent = "";
    note.focus();
  }
  function noteKey(event) {
    if (event.key !== "Enter" && event.key !== "Escape" || event.isComposing) return;
    event.preventDefault();
    keepNote(event.key === "Escape");
  }
  // A note goes with the answer; that of an answered pair changes at once.
  function keepNote(dropped = false) {
    if (note.hidden) return;
    const { row } = item(), mine = given(row), text = note.value.trim().replace(/\s+/g, " ");
    note.hidden = true;
    if (!dropped) drafts.set(row, text);
    if (!dropped && mine && text !== mine.note) {
      const told = line({ score: mine.score, note: text });
      if (record(told)) lines.push(told);
      drafts.delete(row);
    }
    noted.textContent = drafts.get(row) ?? given(row)?.note ?? "";
    writing.focus();
  }
  async function showOthers() {
    const asked = item();
    if (blind && !given(asked.row)) return;
    seen.add(asked.row);
    const told = await compare(asked);
    if (asked === item()) beside.replaceChildren(told);
  }
  const KEYS = { u: undo, n: writeNote, c: () => comparing && !comparing.disabled && showOthers() };
  document.addEventListener("keydown", (event) => {
    if (help.open || event.ctrlKey || event.metaKey || event.altKey || event.target.matches?.("input, textarea, select")) return;
    // A Korean keyboard sends ㅕ for U: the place of the key counts where the character is no letter or digit.
    const digit = /^[0-5]$/.test(event.key) ? event.key : event.code.match(/^(?:Digit|Numpad)([0-5])$/)?.[1];
    const letter = /^[a-z]$/i.test(event.key) ? event.key.toLowerCase() : event.code.match(/^Key([A-Z])$/)?.[1].toLowerCase();
    let work = null;
    if (event.key === "?") work = () => help.showModal();
    else if (event.key === "ArrowLeft") work = () => move(-1);
    else if (event.key === "ArrowRight") work = () => move(1);
    else if (digit && !event.shiftKey) work = event.repeat ? () => {} : () => answer(Number(digit));
    else if (letter in KEYS) work = event.repeat ? () => {} : KEYS[letter];
    if (!work) return;
    event.preventDefault();
    if (at < items.length || work !== KEYS.n && work !== KEYS.c) work();
  });
  at = nextOpen(0);
  show();
}
