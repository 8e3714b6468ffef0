/** A curve no higher than a word, from zero up to the largest value; the label is what a screen reader says instead. */

const WIDTH = 96;
const HEIGHT = 20;
const MARGIN = 3;

export function sparkline(values, label) {
  const step = (WIDTH - 2 * MARGIN) / Math.max(values.length - 1, 1);
  const top = Math.max(...values) || 1;
  const points = values.map((value, place) => [
    MARGIN + place * step,
    HEIGHT - MARGIN - (value / top) * (HEIGHT - 2 * MARGIN),
  ]);
  const [cx, cy] = points.at(-1);
  const picture = draw("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, width: WIDTH, height: HEIGHT, role: "img", "aria-label": label });
  picture.append(draw("polyline", { points: points.join(" ") }), draw("circle", { cx, cy, r: 2.2 }));
  return picture;
}

function draw(name, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const key in attributes) element.setAttribute(key, attributes[key]);
  return element;
}
