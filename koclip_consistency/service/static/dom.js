// Elements, requests and images. Data enters the page as text alone.
import { t } from "./words.js";

export function el(tag, attributes = {}, ...children) {
  const made = document.createElementNS(SVG.has(tag) ? "http://www.w3.org/2000/svg" : "http://www.w3.org/1999/xhtml", tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}
const SVG = new Set(["svg", "line", "circle", "rect", "text", "g"]);

export const main = document.getElementById("main");

export function say(text) {
  document.getElementById("status").textContent = text;
}

export function fault(text, command) {
  return el("p", { class: "fault", role: "alert" }, text, command ? [" ", el("code", {}, command)] : null);
}

const TOKEN = "koclip-token";
export function keepToken() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (!given) return;
  sessionStorage.setItem(TOKEN, given);
  history.replaceState(null, "", location.pathname + location.search);
}

async function send(path, options = {}) {
  const token = sessionStorage.getItem(TOKEN);
  const headers = { ...options.headers, ...(token ? { Authorization: `Bearer ${token}` } : {}) };
  let reply;
  try {
    reply = await fetch(path, { ...options, headers });
  } catch {
    throw new Error(t("failed"));
  }
  if (reply.ok) return reply;
  const told = await reply.json().catch(() => ({}));
  throw Object.assign(new Error(told.error ?? `${reply.status} ${reply.statusText}`), { status: reply.status });
}

export function query(values) {
  return new URLSearchParams((Array.isArray(values) ? values : Object.entries(values)).filter(([, value]) => value !== "" && value !== null && value !== undefined)).toString();
}

export const get = async (path, values = {}) => (await send(`${path}?${query(values)}`)).json();
export const post = async (path, form) => (await send(path, { method: "POST", body: form })).json();
export const postJson = async (path, value) => (await send(path, { method: "POST", body: JSON.stringify(value), headers: { "Content-Type": "application/json" } })).json();
export const blobOf = async (image, size) => (await send(`/api/image/${image}?size=${size}`)).blob();

export const blobFrom = async (path, form) => (await send(path, { method: "POST", body: form })).blob();
export const fileOf = async (image) => (await send(`/api/file/${image}`)).blob();

export async function download(path, values, name) {
  const link = el("a", { download: name });
  link.href = URL.createObjectURL(await (await send(`${path}?${query(values)}`)).blob());
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

// Asks again until work in the background is done.
export async function finished(path, values = {}) {
  for (let pause = 200; ; pause = Math.min(2000, 1.5 * pause)) {
    const told = await get(path, values);
    if (told.state === "done") return told.result;
    if (told.state === "failed") throw new Error(told.error);
    await new Promise((done) => setTimeout(done, pause));
  }
}

export function picture(image, name, size = 240, attributes = {}) {
  return viewOf(blobOf(image, size), name, attributes);
}

// A view of an image that may still be on its way.
export function viewOf(coming, name, attributes = {}) {
  const view = el("div", { class: "view" });
  coming.then(
    (blob) => {
      const shown = el("img", { alt: name, ...attributes });
      shown.addEventListener("load", () => URL.revokeObjectURL(shown.src), { once: true });
      shown.src = URL.createObjectURL(blob);
      view.replaceChildren(shown);
    },
    () => view.replaceChildren(el("span", {}, t("noImageFile"))),
  );
  return view;
}

export function parameters() {
  return Object.fromEntries(new URLSearchParams(location.search));
}

export function remember(values) {
  const asked = query(values);
  history.replaceState(null, "", location.pathname + (asked ? `?${asked}` : ""));
}

export function link(path, values, ...children) {
  const asked = query(values);
  return el("a", { href: path + (asked ? `?${asked}` : "") }, ...children);
}

export function choice(label, options, value, changed) {
  const select = el("select", { "aria-label": label, onchange: () => changed(select.value) }, options.map(([key, text]) => el("option", { value: key }, text)));
  select.value = value;
  return el("label", { class: "choose" }, label, select);
}

// The choice of a run and system; what is chosen is in the page's address.
export function systemChoice(about, changed) {
  const asked = parameters();
  const options = about.runs.flatMap((run) => run.systems.map((system) => [JSON.stringify([run.name, system]), `${run.name} · ${system}`]));
  if (!options.length) return { element: el("span"), value: () => ({ run: "", system: "" }) };
  const wanted = JSON.stringify([asked.run ?? about.default_run, asked.system ?? about.default_system]);
  let value = options.some(([key]) => key === wanted) ? wanted : JSON.stringify([about.default_run, about.default_system]);
  const element = choice(t("system"), options, value, (now) => {
    value = now;
    const [run, system] = JSON.parse(now);
    changed({ run, system });
  });
  return { element, value: () => { const [run, system] = JSON.parse(value); return { run, system }; } };
}
