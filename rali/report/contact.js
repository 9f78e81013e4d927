const sheet = document.querySelector(".sheet"), cards = [...sheet.children];
const get = id => document.getElementById(id);
const score = card => card.dataset.score === "" ? null : Number(card.dataset.score);
const name = card => card.querySelector("small").textContent;
const words = new Map(cards.map(card => [card, card.querySelector("figcaption").textContent.toLowerCase()]));
const place = new Map(cards.map((card, index) => [card, index]));
const compare = new Intl.Collator(undefined, {numeric: true}).compare;
const orders = {
  given: (a, b) => place.get(a) - place.get(b),
  best: (a, b) => (score(b) ?? -Infinity) - (score(a) ?? -Infinity) || place.get(a) - place.get(b),
  worst: (a, b) => (score(a) ?? Infinity) - (score(b) ?? Infinity) || place.get(a) - place.get(b),
  name: (a, b) => compare(name(a), name(b)),
};
function filter() {
  const text = get("text").value.trim().toLowerCase();
  const low = Number(get("low").value), high = Number(get("high").value);
  get("low-shown").value = low.toFixed(1);
  get("high-shown").value = high.toFixed(1);
  let shown = 0;
  for (const card of cards) {
    const value = score(card);
    const fits = value === null ? get("failed").checked : value >= low && value <= high;
    card.hidden = !(fits && words.get(card).includes(text));
    shown += !card.hidden;
  }
  get("count").textContent = `${shown} of ${cards.length} pictures`;
}
function sort() {
  sheet.append(...[...cards].sort(orders[get("order").value]));
}
get("order").addEventListener("change", sort);
for (const id of ["text", "low", "high", "failed"]) get(id).addEventListener("input", filter);
sheet.addEventListener("click", event => {
  const button = event.target.closest("button");
  if (!button) return;
  const card = button.closest("figure"), view = get("view");
  view.querySelector("img").src = button.dataset.map;
  view.querySelector("p").textContent = name(card);
  view.showModal();
});
get("view").addEventListener("click", () => get("view").close());
get("controls").hidden = false;
sort();
filter();
