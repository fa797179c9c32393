// Numbers as people read them: the same as `charts/number.rs` writes them on the server.

export const count = (number) => String(Math.round(number)).replace(/\B(?=(\d{3})+$)/g, ",");

const three = (value) => (value < 9.995 ? value.toFixed(2) : value < 99.95 ? value.toFixed(1) : value.toFixed(0));

// A time in milliseconds in three digits, with its unit.
export function duration(ms) {
  if (!Number.isFinite(ms)) return "–";
  const sign = ms < 0 ? "−" : "";
  const size = Math.abs(ms);
  if (size === 0) return "0 ms";
  if (size < 0.1) return `${sign}${three(size * 1000)} µs`;
  if (size < 1) return `${sign}${size.toFixed(2)} ms`;
  if (size < 999.5) return `${sign}${three(size)} ms`;
  return `${sign}${three(size / 1000)} s`;
}

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const two = (number) => String(number).padStart(2, "0");

// A moment in Unix seconds, in UTC.
export function moment(seconds) {
  const at = new Date(seconds * 1000);
  if (Number.isNaN(at.getTime())) return "–";
  const day = `${at.getUTCDate()} ${MONTHS[at.getUTCMonth()]} ${at.getUTCFullYear()}`;
  return `${day}, ${two(at.getUTCHours())}:${two(at.getUTCMinutes())} UTC`;
}
