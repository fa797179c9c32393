// A list of checks that are all carried out, whatever becomes of the others, and what became of them.

const failures = [];
let count = 0;

export async function check(name, body) {
  count += 1;
  try {
    await body();
  } catch (error) {
    failures.push(name);
    console.error(`FAILED ${name}\n  ${String(error.message ?? error).split("\n").slice(0, 12).join("\n  ")}`);
  }
}

export function ensure(condition, words) {
  if (!condition) throw new Error(words);
}

// Says what was done; the exit code tells whether all was well.
export function finish() {
  console.error(`${count - failures.length} of ${count} checks of the site passed`);
  if (failures.length) {
    console.error(failures.map((name) => `  failed: ${name}`).join("\n"));
    process.exitCode = 1;
  }
}
