// The page works without this file: it adds the dialog, previews, keys, drop and paste.
"use strict";

const root = document.documentElement;
root.classList.add("script");
const dialog = document.querySelector("dialog.player");
const box = document.getElementById("q");
const still = matchMedia("(prefers-reduced-motion: reduce)");
const title = document.title;
let opened = null; // the card from which the player was opened
let orders = 0; // to show or hide the player: what was fetched for an earlier one is late and dropped
let shown = new URLSearchParams(location.search).get("m"); // the moment that it shows

// Player -------------------------------------------------------------------------------------------------------------

function watch(video) {
  const start = Number(video.dataset.start), end = Number(video.dataset.end);
  let within = true; // whoever seeks elsewhere is not stopped at the moment's end
  video.addEventListener("loadedmetadata", () => { video.currentTime = start; video.play().catch(() => {}); }, { once: true });
  video.addEventListener("seeking", () => { within = video.currentTime >= start - 0.3 && video.currentTime < end; });
  // Looked at before every picture is drawn: the event "timeupdate" comes only four times a second.
  const look = () => {
    if (!video.isConnected || video.paused) return;
    if (within && video.currentTime >= end - 0.04) {
      video.pause();
      video.currentTime = Math.max(start, end - 0.06);
    } else requestAnimationFrame(look);
  };
  video.addEventListener("play", () => {
    if (within && video.currentTime >= end - 0.1) video.currentTime = start;
    requestAnimationFrame(look);
  });
}

function furnish() {
  const video = dialog.querySelector("video");
  if (video) watch(video);
  const button = dialog.querySelector("[data-copy]");
  if (button) button.hidden = false;
  document.title = `${dialog.querySelector("h2").textContent} · ${title}`;
}

// How the history takes the address: an entry of its own for the player, one for however many moments it shows.
const OPEN = "open", STEP = "step", STAY = "stay";

async function show(address, how) {
  const order = ++orders;
  const part = new URL(address, location);
  part.searchParams.set("part", "player");
  let answer, content;
  try {
    answer = await fetch(part);
    content = await answer.text();
  } catch {
    if (order === orders) complain("The server does not answer.");
    return;
  }
  if (order !== orders) return;
  if (!answer.ok) { location.href = address; return; }
  shown = part.searchParams.get("m");
  document.querySelector(".trouble")?.remove();
  dialog.innerHTML = content; // from this server, escaped by its templates
  if (how === OPEN) history.pushState({ player: true }, "", address);
  else if (how === STEP) history.replaceState(history.state, "", address);
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
  furnish();
  dialog.querySelector("h2").focus();
}

function complain(words) {
  document.querySelector(".trouble")?.remove();
  const line = document.createElement("p");
  line.className = "trouble";
  line.setAttribute("role", "alert");
  line.textContent = words;
  (dialog.open ? dialog : document.getElementById("results")).prepend(line);
}

function hide() {
  orders += 1;
  if (!dialog.open) return;
  dialog.close();
  dialog.replaceChildren();
  document.title = title;
  const card = cards.find((each) => each.dataset.moment === shown || each.querySelector(`rect[data-moment="${CSS.escape(shown)}"]`)) || opened;
  if (card) card.focus();
}

function leave() {
  orders += 1;
  if (history.state && history.state.player) history.back();
  else { history.replaceState(null, "", dialog.querySelector("[data-close]").getAttribute("href")); hide(); }
}

if (dialog.open) { dialog.close(); dialog.showModal(); furnish(); dialog.querySelector("h2").focus(); }
dialog.addEventListener("cancel", (event) => { event.preventDefault(); leave(); });
dialog.addEventListener("click", (event) => {
  if (event.target === dialog) { leave(); return; }
  const link = event.target.closest("a");
  const frame = event.target.closest("[data-time]");
  const copy = event.target.closest("[data-copy]");
  const part = event.target.closest("rect[data-moment]");
  if (link && link.matches("[data-close]")) { event.preventDefault(); leave(); }
  else if (link && link.matches("[data-previous], [data-next]")) { event.preventDefault(); step(link.href); }
  else if (part) step(withMoment(location.href, part.dataset.moment));
  else if (copy) copyLink(copy);
  else if (frame) {
    const video = dialog.querySelector("video");
    video.currentTime = Number(frame.dataset.time) - Number(video.dataset.offset);
    video.play().catch(() => {});
  }
});

function step(address) { show(address, STEP); }

async function copyLink(button) {
  const link = new URL(button.dataset.copy, location).href;
  let copied = true;
  try { await navigator.clipboard.writeText(link); } catch {
    // Not there without HTTPS but on this machine, or not allowed: the older way, or a field to copy from.
    const field = dialog.querySelector("[data-link]") || document.createElement("input");
    field.dataset.link = "";
    field.readOnly = true;
    field.value = link;
    field.setAttribute("aria-label", "Link to this moment");
    button.after(field);
    field.focus();
    field.select();
    copied = document.execCommand("copy");
    if (copied) { field.remove(); button.focus(); }
  }
  if (copied) button.textContent = "Link copied";
}

function withMoment(address, id) {
  const url = new URL(address, location);
  url.searchParams.set("m", id);
  return url.pathname + url.search;
}

window.addEventListener("popstate", () => {
  if (new URLSearchParams(location.search).has("m")) show(location.href, STAY);
  else hide();
});

// Results ------------------------------------------------------------------------------------------------------------

const cards = [...document.querySelectorAll("a[data-player]")];

document.addEventListener("click", (event) => {
  const card = event.target.closest("a[data-player]");
  if (!card || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  event.preventDefault();
  opened = card;
  const part = event.target.closest("rect[data-moment]");
  show(part ? withMoment(card.href, part.dataset.moment) : card.href, OPEN);
});

function preview(card) {
  const tiles = Number(card.dataset.tiles || 0);
  if (!tiles || card.querySelector(".preview")) return;
  const sheet = document.createElement("span");
  const picture = document.createElement("i");
  // The frames of the moment, from the one that counted most; the strip has those of its whole window.
  const first = Number(card.dataset.first), last = Number(card.dataset.last);
  let tile = Number(card.dataset.from);
  const turn = () => { picture.style.backgroundPosition = `${tiles > 1 ? (100 * tile) / (tiles - 1) : 0}% 0`; tile = tile < last ? tile + 1 : first; };
  sheet.className = "preview";
  picture.style.aspectRatio = card.dataset.tile;
  picture.style.backgroundSize = `${100 * tiles}% 100%`;
  const image = new Image();
  image.onload = () => {
    if (!card.matches(":hover, :focus-visible")) return;
    picture.style.backgroundImage = `url("${card.dataset.strip}")`;
    sheet.append(picture);
    card.querySelector(".thumb img:last-of-type").after(sheet);
    turn();
    if (!still.matches) sheet.timer = setInterval(turn, 400);
  };
  image.src = card.dataset.strip;
}

function unpreview(card) {
  if (card.matches(":hover, :focus-visible")) return;
  const sheet = card.querySelector(".preview");
  if (sheet) { clearInterval(sheet.timer); sheet.remove(); }
}

for (const card of cards) {
  let wait;
  const enter = () => { wait = setTimeout(() => preview(card), 150); };
  card.addEventListener("pointerenter", enter);
  card.addEventListener("pointerleave", () => { clearTimeout(wait); unpreview(card); });
  card.addEventListener("focus", () => preview(card));
  card.addEventListener("blur", () => unpreview(card));
  if (card.matches(":hover, :focus-visible")) enter(); // since before this script was there
}

// The first query waits for the model -----------------------------------------------------------------------------------

const waiting = document.querySelector("[data-waiting]");
async function wait(since) {
  let status;
  try { status = await (await fetch("/api/status")).json(); } catch { status = { waiting: "the server does not answer" }; }
  if (status.waiting === null) { location.reload(); return; }
  // Only a change, so that a screen reader does not read it every second.
  if (waiting.textContent !== status.waiting) waiting.textContent = status.waiting;
  document.querySelector("[data-seconds]").textContent = `${Math.round((Date.now() - since) / 1000)} s`;
  setTimeout(wait, 1000, since);
}
if (waiting) wait(Date.now());

// Words of confidence come some seconds after the model: into the page, but not below the hand of whoever uses it already.
async function measured() {
  // Resolves to whether they are known, as soon as they are or will not be.
  for (;;) {
    let status = { measuring: true };
    try { status = await (await fetch("/api/status")).json(); } catch { /* it may come back */ }
    if (status.measured || !status.measuring) return status.measured;
    await new Promise((done) => setTimeout(done, 2000));
  }
}

async function asItIsNow(address) {
  let text = ""; // where the server has ended
  try { text = await (await fetch(address)).text(); } catch { /* what is shown stays */ }
  return new DOMParser().parseFromString(text, "text/html");
}

const measuring = document.querySelector("[data-measuring]");
async function measure() {
  if (!await measured()) {
    const now = (await asItIsNow(location.href)).querySelector(".summary");
    if (now) measuring.textContent = now.textContent;
    return;
  }
  if (!dialog.open && !scrollY && !cards.includes(document.activeElement) && box.value === box.defaultValue) { location.reload(); return; }
  const link = document.createElement("a");
  link.href = location.href;
  link.textContent = "Show how sure this is";
  measuring.replaceChildren(link);
}
if (measuring) measure();

// So do the examples of the start, where there are some.
async function exemplify() {
  await measured();
  const now = await asItIsNow("/");
  document.querySelector("[data-examples]").replaceWith(...now.querySelectorAll(".chips, .no-chips"));
  const asked = now.getElementById("q");
  if (asked) box.placeholder = asked.placeholder;
}
if (document.querySelector("[data-examples]")) exemplify();

// Keys ---------------------------------------------------------------------------------------------------------------

function nearest(from, key) {
  const number = cards.indexOf(from);
  if (key === "ArrowRight") return cards[number + 1];
  if (key === "ArrowLeft") return cards[number - 1];
  const here = from.getBoundingClientRect();
  const down = key === "ArrowDown";
  const others = cards.map((card) => [card, card.getBoundingClientRect()])
    .filter(([, there]) => (down ? there.top >= here.bottom : there.bottom <= here.top));
  const away = ([, there]) => Math.abs(there.top - here.top) * 10 + Math.abs(there.left - here.left);
  return others.length ? others.reduce((best, other) => (away(other) < away(best) ? other : best))[0] : undefined;
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const at = document.activeElement;
  const arrow = event.key.startsWith("Arrow");
  if (dialog.open) {
    const frames = at.closest("[data-frames]");
    const sideways = event.key === "ArrowLeft" ? -1 : event.key === "ArrowRight" ? 1 : 0;
    if (!sideways || at.matches("video, input")) return;
    event.preventDefault();
    if (frames) {
      const all = [...frames.querySelectorAll("button")];
      const next = all[all.indexOf(at) + sideways];
      if (next) { at.tabIndex = -1; next.tabIndex = 0; next.focus(); }
    } else {
      const link = dialog.querySelector(sideways < 0 ? "[data-previous]" : "[data-next]");
      if (link) step(link.href);
    }
    return;
  }
  const typing = at.matches("input, select, textarea");
  if (event.key === "/" && (!typing || (at === box && !box.value))) { event.preventDefault(); box.focus(); box.select(); }
  else if (event.key === "Escape") {
    orders += 1;
    if (at === box) { event.preventDefault(); box.blur(); } // or the browser empties the box
  }
  else if (event.key === "ArrowDown" && (at === box || at === document.body) && cards.length) { event.preventDefault(); cards[0].focus(); }
  else if (arrow && cards.includes(at)) {
    event.preventDefault();
    const next = nearest(at, event.key);
    if (next) next.focus();
    else if (event.key === "ArrowUp") box.focus();
  }
});

// A picture or clip as the query ---------------------------------------------------------------------------------------

const chooser = document.getElementById("file");
function give(file) {
  const carried = new DataTransfer();
  carried.items.add(file);
  chooser.files = carried.files;
  chooser.form.submit();
}
chooser.addEventListener("change", () => { if (chooser.files.length) chooser.form.submit(); });
addEventListener("dragover", (event) => {
  if ([...event.dataTransfer.types].includes("Files")) { event.preventDefault(); document.body.classList.add("dropping"); }
});
addEventListener("dragleave", (event) => { if (!event.relatedTarget) document.body.classList.remove("dropping"); });
addEventListener("drop", (event) => {
  document.body.classList.remove("dropping");
  if (event.dataTransfer.files.length) { event.preventDefault(); give(event.dataTransfer.files[0]); }
});
addEventListener("paste", (event) => {
  const file = [...event.clipboardData.files].find((each) => /^(image|video)\//.test(each.type));
  if (file) { event.preventDefault(); give(file); }
});
// Options that are not set stay out of the address.
document.querySelector("form.search").addEventListener("submit", (event) => {
  for (const field of event.target.elements) if (field.name && field.name !== "q" && !field.value) field.disabled = true;
});
addEventListener("pageshow", () => { for (const field of document.querySelectorAll("form.search :disabled")) field.disabled = false; });
