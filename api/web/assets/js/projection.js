// Where a place is on the map of the world, as `charts/world.rs` puts it there: Equal Earth, 2000 units wide, from 84° north. The way
// back, too. (B. Šavrič, T. Patterson, B. Jenny, IJGIS 33 (2019), 454.)

export const [WIDTH, HEIGHT] = [2000, 867];

const A = [1.340264, -0.081106, 0.000893, 0.003796];
const M = Math.sqrt(3) / 2;
const radians = (degrees) => (degrees * Math.PI) / 180;
const degrees = (radians) => (radians * 180) / Math.PI;
const height = (t) => t * (A[0] + A[1] * t ** 2 + t ** 6 * (A[2] + A[3] * t ** 2));
const slope = (t) => A[0] + 3 * A[1] * t ** 2 + t ** 6 * (7 * A[2] + 9 * A[3] * t ** 2);
const angle = (latitude) => Math.asin(M * Math.sin(radians(latitude)));
const SCALE = ((WIDTH / 2) * M * A[0]) / Math.PI;
const TOP = height(angle(84));

export function place(latitude, longitude) {
  const t = angle(latitude);
  return [WIDTH / 2 + ((radians(longitude) * Math.cos(t)) / (M * slope(t))) * SCALE, (TOP - height(t)) * SCALE];
}

export function unplace(x, y) {
  const target = TOP - y / SCALE;
  let t = target / A[0];
  // Newton's steps; the curve is nearly straight.
  for (let n = 0; n < 8; n += 1) t -= (height(t) - target) / slope(t);
  const latitude = degrees(Math.asin(Math.max(-1, Math.min(1, Math.sin(t) / M))));
  return [latitude, degrees((((x - WIDTH / 2) / SCALE) * M * slope(t)) / Math.cos(t))];
}
