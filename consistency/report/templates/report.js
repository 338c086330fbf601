"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const gallery = byId("gallery"), shown = byId("shown");
  const system = byId("system"), off = byId("off"), label = byId("label"), text = byId("text");
  const cards = [...gallery.querySelectorAll(".post")].map((card) => ({
    card,
    name: card.dataset.name.toLowerCase().normalize("NFC"),
    tags: [...card.querySelectorAll(".tag")].map((tag) => ({
      tag,
      hashtag: tag.dataset.tag.toLowerCase().normalize("NFC"),
      label: Number(tag.dataset.label),
      predicted: tag.dataset.predicted.split(",").map((p) => (p ? Number(p) : null)),
      verdict: tag.querySelector(".verdict"),
    })),
  }));
  byId("filters").hidden = false;

  function worstFirst(a, b) {
    for (let i = 0; i < Math.max(a.length, b.length); i++) {
      const gap = (b[i] ?? -1) - (a[i] ?? -1);
      if (gap) return gap;
    }
    return 0;
  }
  function order() {
    const at = Number(system.value);
    for (const entry of cards) {
      for (const tag of entry.tags) {
        const guess = tag.predicted[at];
        tag.off = guess === null ? -1 : Math.abs(guess - tag.label);
        tag.tag.dataset.off = guess === null ? "none" : Math.min(tag.off, 2);
        tag.verdict.textContent = guess === null ? "–" : guess;
      }
      entry.tags.sort((a, b) => b.off - a.off || b.label - a.label);
      entry.tags.forEach((tag) => tag.tag.parentNode.append(tag.tag));
      entry.offs = entry.tags.map((tag) => tag.off);
    }
    cards.sort((a, b) => worstFirst(a.offs, b.offs));
    cards.forEach((entry) => gallery.append(entry.card));
    filter();
  }
  function filter() {
    const least = Number(off.value), wanted = Number(label.value);
    const words = text.value.toLowerCase().normalize("NFC").trim();
    let tags = 0, images = 0;
    for (const entry of cards) {
      const named = entry.name.includes(words);
      let visible = 0;
      for (const tag of entry.tags) {
        const show = tag.off >= least && (!wanted || tag.label === wanted) && (named || tag.hashtag.includes(words));
        tag.tag.hidden = !show;
        visible += show;
      }
      entry.card.hidden = !visible;
      tags += visible;
      images += visible > 0;
    }
    shown.textContent = `${tags} hashtags on ${images} images`;
  }
  system.addEventListener("change", order);
  for (const control of [off, label]) control.addEventListener("change", filter);
  text.addEventListener("input", filter);
  order();
})();
