"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const plain = (text) => text.toLowerCase().normalize("NFC");
  const gallery = byId("gallery"), shown = byId("shown");
  const system = byId("system"), off = byId("off"), label = byId("label"), predicted = byId("predicted");
  const sort = byId("sort"), text = byId("text");
  const cards = [...gallery.querySelectorAll(".post")].map((card) => ({
    card,
    file: card.dataset.name,
    name: plain(card.dataset.name),
    tags: [...card.querySelectorAll(".tag")].map((tag) => ({
      tag,
      hashtag: plain(tag.dataset.tag),
      label: Number(tag.dataset.label),
      predicted: tag.dataset.predicted.split(",").map((p) => (p ? Number(p) : null)),
      verdict: tag.querySelector(".verdict"),
    })),
  }));
  document.querySelectorAll("#filters, #deciding, #kept, .tools, .decision").forEach((part) => { part.hidden = false; });

  // Saving as CSV: everything comes from the page, and nothing leaves it.
  const cell = (value) => (/[",\r\n]/.test(value) ? `"${String(value).replaceAll('"', '""')}"` : String(value));
  function save(name, rows) {
    const content = rows.map((row) => row.map(cell).join(",") + "\n").join("");
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([content], { type: "text/csv" }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }
  const words = (node) => node.textContent.replace(/\s+/g, " ").trim();
  document.querySelectorAll("button[data-table]").forEach((button) => button.addEventListener("click", () =>
    save(button.dataset.name, [...byId(button.dataset.table).rows].map((row) => [...row.cells].map(words)))));

  // The order and the filters of the images.
  function worstFirst(a, b) {
    for (let i = 0; i < Math.max(a.length, b.length); i++) {
      const gap = (b[i] ?? -1) - (a[i] ?? -1);
      if (gap) return gap;
    }
    return 0;
  }
  const mean = (entry) => {
    const known = entry.tags.map((tag) => tag.guess).filter((guess) => guess !== null);
    return known.length ? known.reduce((sum, guess) => sum + guess, 0) / known.length : 0;
  };
  const ORDERS = {
    worst: (a, b) => worstFirst(a.offs, b.offs),
    best: (a, b) => worstFirst(b.offs, a.offs),
    high: (a, b) => mean(b) - mean(a),
    low: (a, b) => mean(a) - mean(b),
    many: (a, b) => b.tags.length - a.tags.length,
    name: (a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }),
  };
  function order() {
    const at = Number(system.value);
    for (const entry of cards) {
      for (const tag of entry.tags) {
        const guess = tag.guess = tag.predicted[at];
        tag.off = guess === null ? -1 : Math.abs(guess - tag.label);
        tag.tag.dataset.off = guess === null ? "none" : Math.min(tag.off, 2);
        tag.verdict.textContent = guess === null ? "–" : guess;
      }
      entry.tags.sort((a, b) => b.off - a.off || b.label - a.label);
      entry.tags.forEach((tag) => tag.tag.parentNode.append(tag.tag));
      entry.offs = entry.tags.map((tag) => tag.off);
    }
    cards.sort(ORDERS[sort.value]);
    cards.forEach((entry) => gallery.append(entry.card));
    filter();
  }
  function filter() {
    const least = Number(off.value), wanted = Number(label.value), guess = Number(predicted.value);
    const sought = plain(text.value).trim();
    let tags = 0, images = 0;
    for (const entry of cards) {
      const named = entry.name.includes(sought);
      let visible = 0;
      for (const tag of entry.tags) {
        const show = tag.off >= least && (!wanted || tag.label === wanted) && (!guess || tag.guess === guess)
          && (named || tag.hashtag.includes(sought));
        tag.tag.hidden = !show;
        visible += show;
      }
      entry.card.hidden = !visible;
      tags += visible;
      images += visible > 0;
    }
    shown.textContent = `${tags} hashtags on ${images} images`;
    byId("none").hidden = tags > 0;
  }
  function reset() {
    for (const control of [off, label, predicted, sort]) control.selectedIndex = 0;
    text.value = "";
    order();
  }
  for (const control of [system, sort]) control.addEventListener("change", order);
  for (const control of [off, label, predicted]) control.addEventListener("change", filter);
  text.addEventListener("input", filter);
  for (const id of ["reset", "again"]) byId(id).addEventListener("click", reset);
  document.querySelectorAll(".find").forEach((link) => link.addEventListener("click", () => {
    reset();
    text.value = link.dataset.find;
    filter();
  }));
  byId("save").addEventListener("click", () => {
    const rows = cards.flatMap((entry) => entry.tags.filter((tag) => !tag.tag.hidden && !entry.card.hidden).map((tag) =>
      [entry.file, tag.tag.dataset.tag, tag.label, tag.guess ?? ""]));
    save("images.csv", [["image", "hashtag", "label", "predicted"], ...rows]);
  });
  order();

  // Larger images.
  const large = byId("large");
  document.querySelectorAll(".view img").forEach((image) => {
    const button = document.createElement("button");
    button.type = "button";
    button.title = "Show larger";
    image.replaceWith(button);
    button.append(image);
    button.addEventListener("click", () => {
      const copy = image.cloneNode();
      copy.loading = "eager";
      large.querySelector("div").replaceChildren(copy);
      large.querySelector("p").textContent = button.closest(".post").querySelector("figcaption").textContent;
      large.showModal();
    });
  });
  large.querySelector("button").addEventListener("click", () => large.close());

  // Decisions about doubtful labels, as an answers file.
  if (byId("decide")) {
    const choices = [...document.querySelectorAll(".decision select")];
    const made = () => choices.filter((choice) => choice.value);
    const count = () => {
      byId("decided").textContent = made().length ? `${made().length} of ${choices.length} decided` : "no decision yet";
    };
    choices.forEach((choice) => choice.addEventListener("change", count));
    byId("decide").addEventListener("click", () => {
      const name = byId("annotator").value.trim();
      if (!name || !made().length) {
        byId("decided").textContent = name ? "no decision yet" : "give your name first";
        (name ? choices[0] : byId("annotator"))?.focus();
        return;
      }
      const random = () => [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join("");
      const rows = made().map((choice) => {
        const row = choice.closest(".doubt"), digest = choice.closest(".post").dataset.digest;
        return [name, new Date().toISOString(), random(), row.dataset.row, digest, row.dataset.tag, choice.value, "", "",
          "doubtful", "no"];
      });
      save(`answers-${name.replace(/[^\p{L}\p{N}]+/gu, "-")}.csv`, [document.body.dataset.answers.split(","), ...rows]);
    });
  }
})();
