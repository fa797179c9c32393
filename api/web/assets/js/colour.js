// Colours of the style as numbers, for what is drawn on a canvas: a variable's own text may be a choice between light and dark, so an
// element is asked what it came to.

export function rgb(name) {
  const probe = document.createElement("span");
  probe.hidden = true;
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const numbers = getComputedStyle(probe).color.match(/\d+(\.\d+)?/g) ?? [];
  probe.remove();
  return [0, 1, 2].map((index) => Math.round(Number(numbers[index] ?? 128)));
}

export const css = (name, opacity = 1) => `rgba(${rgb(name).join(", ")}, ${opacity})`;
