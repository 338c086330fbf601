// Starts the page that the address names.
import { el, fault, get, keepToken, main, say } from "./dom.js";
import { language, otherLanguage, t } from "./words.js";
import { showScore } from "./score.js";
import { showData, showDoubtful } from "./gallery.js";
import { showHashtag, showPost } from "./details.js";
import { showMap } from "./map.js";
import { showAnnotate } from "./annotate.js";
import { showAgreement } from "./agreement.js";
import { showRuns } from "./runs.js";

const PLACES = [
  ["/", "score", showScore], ["/data", "data", showData], ["/hashtag", "hashtag", showHashtag], ["/post", "post", showPost],
  ["/doubtful", "doubtful", showDoubtful], ["/map", "map", showMap],
  ["/annotate", "annotate", showAnnotate], ["/agreement", "agreement", showAgreement], ["/runs", "runs", showRuns],
];

keepToken();
document.documentElement.lang = language;
const byId = (id) => document.getElementById(id);
const [, name, show] = PLACES.find(([path]) => path === location.pathname) ?? PLACES[0];
byId("title").textContent = t(name);
document.title = `${t(name)} · koclip-consistency`;
byId("skip").textContent = t("skip");
byId("footer").textContent = t("footer");
byId("language").textContent = t("other");
byId("language").lang = language === "en" ? "ko" : "en";
byId("language").addEventListener("click", otherLanguage);
byId("nav").setAttribute("aria-label", t("places"));
byId("places").append(...PLACES.map(([path, key]) => el("a", { href: path, "aria-current": key === name ? "page" : null }, t(key))));

document.querySelector("[aria-current=page]")?.scrollIntoView({ block: "nearest", inline: "center" });
main.replaceChildren(el("p", { class: "soft" }, t("loading")));
try {
  const about = await get("/api/about");
  main.replaceChildren();
  await show(about);
} catch (error) {
  main.replaceChildren(fault(error.message));
  say(error.message);
}
