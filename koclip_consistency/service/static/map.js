// Page 5: images and hashtags in a plane, and the same points as a list.
import { choice, el, fault, finished, link, main, parameters, remember, say, systemChoice } from "./dom.js";
import { t } from "./words.js";
import { TABLE } from "./gallery.js";

const LISTED = 300, NEAR = 14;

export async function showMap(about) {
  if (!about.data) return main.append(fault(t("noTable"), TABLE));
  if (!about.runs.length) return main.append(fault(t("noRun"), "python cli.py similarity --backbone tiny --data pairs.csv --images images"));
  const asked = parameters();
  const system = systemChoice(about, (chosen) => load(chosen));
  const method = choice(t("method"), [["pca", "PCA"], ["tsne", "t-SNE"]], asked.method ?? "pca", (value) => load({ method: value }));
  const layers = { images: el("input", { type: "checkbox", checked: true, onchange: () => drawAll() }), hashtags: el("input", { type: "checkbox", checked: true, onchange: () => drawAll() }) };
  const canvas = el("canvas", { width: 1000, height: 750, class: "card", role: "img", "aria-label": t("mapLabel") });
  const list = el("ul", { class: "list card", tabindex: "0", "aria-label": t("map") });
  const counted = el("output", { id: "counted" }), under = el("p", { class: "soft", id: "under" });
  const everything = el("button", { type: "button", class: "plain", onclick: () => { inside = null; drawAll(); } }, t("all"));
  let points = [], inside = null, path = [];

  main.append(el("p", { class: "soft" }, t("mapAbout")), el("div", { class: "filters" }, system.element, method,
    el("label", {}, el("span", {}, layers.images, " ", t("images"))), el("label", {}, el("span", {}, layers.hashtags, " ", t("hashtags"))), everything, counted),
  el("div", { class: "key" }, el("span", {}, el("i", { class: "image" }), t("images")), el("span", {}, el("i", { class: "hashtag-dot" }), t("hashtags"))),
  el("div", { class: "map" }, canvas, list), under);

  const place = ([x, y]) => [canvas.width * (0.5 + 0.47 * x), canvas.height * (0.5 - 0.47 * y)];
  const visible = () => points.filter((point) => layers[point.kind].checked && (!inside || contains(inside, place(point.at))));

  function drawAll() {
    const pen = canvas.getContext("2d"), style = getComputedStyle(document.documentElement);
    pen.clearRect(0, 0, canvas.width, canvas.height);
    for (const kind of ["images", "hashtags"]) {
      pen.fillStyle = style.getPropertyValue(kind === "images" ? "--accent" : "--near");
      for (const point of points.filter((each) => each.kind === kind && layers[kind].checked)) {
        const [x, y] = place(point.at);
        pen.globalAlpha = inside && !contains(inside, [x, y]) ? 0.15 : 0.75;
        pen.beginPath();
        if (kind === "images") pen.rect(x - 4, y - 4, 8, 8); else pen.arc(x, y, 4, 0, 7);
        pen.fill();
      }
    }
    pen.globalAlpha = 1;
    const drawn = path.length ? path : inside;
    if (drawn) {
      pen.strokeStyle = style.getPropertyValue("--ink");
      pen.beginPath();
      drawn.forEach(([x, y], at) => (at ? pen.lineTo(x, y) : pen.moveTo(x, y)));
      pen.closePath();
      pen.stroke();
    }
    const shown = visible();
    counted.textContent = t("listed", { n: shown.length });
    list.replaceChildren(...shown.slice(0, LISTED).map((point) => el("li", {}, point.kind === "images"
      ? link("/post", { image: point.id, ...system.value() }, point.name) : link("/hashtag", { name: point.name, ...system.value() }, point.name))));
  }
  function spot(event) {
    const box = canvas.getBoundingClientRect();
    return [(event.clientX - box.left) * canvas.width / box.width, (event.clientY - box.top) * canvas.height / box.height];
  }
  canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); path = [spot(event)]; inside = null; });
  canvas.addEventListener("pointermove", (event) => {
    const at = spot(event);
    if (path.length) { path.push(at); return drawAll(); }
    const distance = (point) => Math.hypot(place(point.at)[0] - at[0], place(point.at)[1] - at[1]);
    const nearest = visible().reduce((best, point) => (best && distance(best) <= distance(point) ? best : point), null);
    canvas.title = nearest && distance(nearest) < NEAR ? nearest.name : t("lasso");
  });
  canvas.addEventListener("pointerup", () => { inside = path.length > 2 ? path : null; path = []; drawAll(); say(counted.textContent); });

  async function load(values) {
    Object.assign(asked, values);
    remember(asked);
    under.textContent = t("working");
    try {
      const told = await finished("/api/map", { ...system.value(), method: asked.method ?? "pca" });
      points = [...told.images.map((each) => ({ ...each, kind: "images" })), ...told.hashtags.map((each) => ({ name: each.hashtag, at: each.at, kind: "hashtags" }))];
      inside = null;
      under.textContent = told.left_out ? t("leftOut", { n: told.left_out }) : t("lasso");
      drawAll();
      say(counted.textContent);
    } catch (error) {
      under.replaceChildren(fault(error.message));
    }
  }
  await load({});
}

function contains(polygon, [x, y]) {
  let found = false;
  for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
    const [ax, ay] = polygon[i], [bx, by] = polygon[j];
    if (ay > y !== by > y && x < (bx - ax) * (y - ay) / (by - ay) + ax) found = !found;
  }
  return found;
}
