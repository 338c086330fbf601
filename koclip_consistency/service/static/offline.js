// The page that needs no server: answers stay in this browser, and are saved as a file.
import { el, main, say } from "./dom.js";
import { annotator } from "./annotator.js";
import { language, otherLanguage, t } from "./words.js";

const COLUMNS = ["annotator", "time", "id", "row", "image_sha256", "hashtag", "score", "undo_of", "note", "queue", "blind"];
const GIVEN_NAME = /^[\p{L}\p{N}_](?:[\p{L}\p{M}\p{N}_ .-]{0,38}[\p{L}\p{M}\p{N}_])?$/u;
const told = JSON.parse(document.getElementById("queue").textContent);

document.documentElement.lang = language;
const part = (id) => document.getElementById(id);
part("title").textContent = document.title = t("annotate");
part("skip").textContent = t("skip");
part("footer").textContent = t("offlineFooter");
part("language").textContent = t("other");
part("language").lang = language === "en" ? "ko" : "en";
part("language").addEventListener("click", otherLanguage);

const name = el("input", { id: "annotator", required: true, maxlength: 40, autocomplete: "off" });
const problem = el("div");
main.append(el("p", { class: "soft" }, t("offlineAbout")), el("form", { class: "beginning card", onsubmit: start },
  el("label", { class: "choose" }, t("annotatorName"), name), el("div", { class: "row" }, el("button", { type: "submit" }, t("begin")))), problem);
name.focus();

function start(event) {
  event.preventDefault();
  const who = name.value.normalize("NFC").trim();
  if (!GIVEN_NAME.test(who)) return problem.replaceChildren(el("p", { class: "fault", role: "alert" }, t("badName")));
  main.replaceChildren();
  const key = `koclip-answers ${told.table} ${who}`, everything = JSON.parse(localStorage.getItem(key) ?? "[]");
  let unsaved = 0;
  const saved = el("output", { id: "saved" });
  const save = () => el("button", { type: "button", onclick: download }, t("saveFile"));
  main.append(el("div", { class: "row who" }, el("b", {}, who), saved, save()), problem);
  problem.replaceChildren();
  const state = () => { saved.textContent = t("inBrowser", { n: everything.length, file: unsaved }); };
  state();
  const undone = new Set(everything.map((line) => line.undo_of)), rows = new Set(told.items.map((item) => item.row));
  annotator({
    items: told.items, queue: told.queue, blind: true,
    lines: everything.filter((line) => !line.undo_of && !undone.has(line.id) && rows.has(line.row)),
    picture: (item) => el("div", { class: "view" }, el("img", { alt: t("imageToJudge"), src: told.images[item.image] })),
    record(line) {
      try {
        localStorage.setItem(key, JSON.stringify([...everything, line]));
      } catch (error) {
        problem.replaceChildren(el("p", { class: "fault", role: "alert" }, t("notKept", { n: 1, reason: error.message })));
        return false;
      }
      everything.push(line);
      unsaved += 1;
      state();
      return true;
    },
    finished: save,
  });
  addEventListener("beforeunload", (leaving) => { if (unsaved) leaving.preventDefault(); });

  function download() {
    const cell = (value) => (/[,"\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
    const lines = everything.map((line) => COLUMNS.map((column) => cell(`${{ ...line, annotator: who, score: line.score ?? "", blind: line.blind ? "yes" : "no" }[column]}`)).join(","));
    const file = el("a", { download: `answers-${who}.csv` });
    file.href = URL.createObjectURL(new Blob([`${[COLUMNS.join(","), ...lines].join("\n")}\n`], { type: "text/csv" }));
    file.click();
    setTimeout(() => URL.revokeObjectURL(file.href), 1000);
    unsaved = 0;
    state();
    say(t("fileSaved", { file: file.download }));
  }
}
